//! The real readers of our documents, as Debian packages them. One that is missing fails the
//! test: a judge that was not asked has not agreed.
use std::{
    io::Write,
    process::{Command, Stdio},
};

use serde_json::Value;

/// Runs a judge with files' paths as last arguments; gives all it wrote, or fails.
fn judge(package: &str, command: &[&str], suffix: &str, texts: &[String]) -> String {
    let file = |text: &String| {
        let mut file = tempfile::Builder::new().suffix(suffix).tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    };
    let files: Vec<_> = texts.iter().map(file).collect();
    let output = Command::new(command[0])
        .args(&command[1..])
        .args(files.iter().map(|file| file.path()))
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}: apt-get install {package}", command[0]));
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(
        !said.contains("No module named"),
        "{} lacks a module: apt-get install {package}",
        command[0]
    );
    assert!(output.status.success(), "{} refuses: {said}\n{texts:?}", command[0]);
    said
}

/// `ignition-validate`: warnings do not change its exit code, so any word is a refusal.
pub fn ignition(text: &str) {
    let said = judge("ignition", &["ignition-validate"], ".ign", &[text.to_owned()]);
    assert_eq!(said, "", "ignition-validate warns of:\n{text}");
}

/// What `cloud-init schema` runs, for many files at once.
pub fn cloud_init(texts: &[String]) {
    let program = "import sys\n\
        from cloudinit.config import schema\n\
        for path in sys.argv[1:]:\n\
        \x20   schema.validate_cloudconfig_file(path, schema.get_schema())\n\
        print('judged', len(sys.argv) - 1)";
    let said = judge("cloud-init", &["/usr/bin/python3", "-c", program], ".yml", texts);
    assert_eq!(said, format!("judged {}\n", texts.len()));
}

/// What cloud-init's own code makes of a network-config: the files of both its renderers.
pub fn network(text: &str) -> Value {
    let program = r#"
import json, os, sys, tempfile, yaml
from cloudinit.net import eni, network_state, networkd
config = yaml.safe_load(open(sys.argv[1]))["network"]
out = {}
for name, module in (("networkd", networkd), ("eni", eni)):
    root = tempfile.mkdtemp()
    renderer = module.Renderer()
    state = network_state.parse_net_config_data(config, skip_broken=False, renderer=renderer)
    renderer.render_network_state(state, target=root)
    files = [os.path.join(d, f) for d, _, fs in os.walk(root) for f in fs]
    out[name] = "".join(open(f).read() for f in sorted(files))
print(json.dumps(out))
"#;
    let said =
        judge("cloud-init", &["/usr/bin/python3", "-c", program], ".yml", &[text.to_owned()]);
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// What PyYAML, which is in cloud-init, reads.
pub fn py_yaml(text: &str) -> Value {
    py_yaml_all(&[text.to_owned()]).remove(0)
}

pub fn py_yaml_all(texts: &[String]) -> Vec<Value> {
    let program = "import json, sys, yaml\n\
        load = lambda path: yaml.safe_load(open(path, encoding='utf-8'))\n\
        print(json.dumps([load(path) for path in sys.argv[1:]]))";
    let said = judge("python3-yaml", &["/usr/bin/python3", "-c", program], ".yml", texts);
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// Three shells and shellcheck; none may say a word.
pub fn shell(script: &str) {
    for (package, command) in [
        ("dash", vec!["dash", "-n"]),
        ("bash", vec!["bash", "--posix", "-n"]),
        ("busybox", vec!["busybox", "sh", "-n"]),
        ("shellcheck", vec!["shellcheck", "--shell=sh", "--exclude=SC1091"]),
    ] {
        assert_eq!(judge(package, &command, ".sh", &[script.to_owned()]), "", "{}", command[0]);
    }
}
