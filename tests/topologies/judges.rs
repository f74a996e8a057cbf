//! The real readers of our documents, as Debian packages them. One that is missing fails the
//! test: a judge that was not asked has not agreed.
use std::{
    io::Write,
    process::{Command, Stdio},
};

use serde_json::Value;

/// Runs a judge with a file's path as last argument; gives all it wrote, or fails.
fn judge(package: &str, command: &[&str], suffix: &str, text: &str) -> String {
    let mut file = tempfile::Builder::new().suffix(suffix).tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let output = Command::new(command[0])
        .args(&command[1..])
        .arg(file.path())
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}: apt-get install {package}", command[0]));
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(
        !said.contains("No module named"),
        "{} lacks a module: apt-get install {package}",
        command[0]
    );
    assert!(output.status.success(), "{} refuses: {said}\n{text}", command[0]);
    said
}

/// `ignition-validate`: warnings do not change its exit code, so any word is a refusal.
pub fn ignition(text: &str) {
    let said = judge("ignition", &["ignition-validate"], ".ign", text);
    assert_eq!(said, "", "ignition-validate warns of:\n{text}");
}

pub fn cloud_init(text: &str) {
    let command = ["cloud-init", "schema", "--config-file"];
    let said = judge("cloud-init", &command, ".yml", text);
    assert!(said.contains("Valid"), "cloud-init says {said}");
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
    let said = judge("cloud-init", &["/usr/bin/python3", "-c", program], ".yml", text);
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// What PyYAML, which is in cloud-init, reads.
pub fn py_yaml(text: &str) -> Value {
    let program = "import json, sys, yaml\n\
        print(json.dumps(yaml.safe_load(open(sys.argv[1], encoding='utf-8'))))";
    let said = judge("python3-yaml", &["/usr/bin/python3", "-c", program], ".yml", text);
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
        assert_eq!(judge(package, &command, ".sh", script), "", "{}", command[0]);
    }
}
