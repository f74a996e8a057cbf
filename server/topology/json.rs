//! JSON that every YAML reader takes for the same data.

use serde_json::Value;

/// Pretty JSON whose bytes are also YAML 1.1 with the same meaning, for PyYAML and go-yaml.
///
/// PyYAML refuses raw C1 controls, DEL, U+FFFE and U+FFFF, folds raw NEL, LS and PS as line
/// breaks, and drops U+FEFF; so these are escaped. Characters beyond the BMP stay as they are:
/// JSON writes them as two escapes, which YAML reads as two broken characters.
pub(super) fn yaml_safe(value: &Value) -> String {
    // `{:#}` of a Value cannot fail: keys are strings and numbers finite.
    let plain = format!("{value:#}");
    let mut out = String::with_capacity(plain.len() + 16);
    for c in plain.chars() {
        match c {
            '\u{7f}'..='\u{9f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('\n');
    out
}

/// The header both cloud-config readers ask for, alone on line 1, then the data.
pub(super) fn cloud_config(value: &Value) -> String {
    format!("#cloud-config\n{}", yaml_safe(value))
}
