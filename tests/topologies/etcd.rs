//! A real etcd from the rendered files, three times, each in a network namespace of its own.
use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use firstlight::topology::Os;
use serde_json::Value;

use super::{cluster, render, shipped};

/// Namespaces with a bridge between them; gone with the value.
struct Rack {
    hub: String,
    blades: Vec<String>,
    running: Vec<Child>,
}

fn ip(line: &str) {
    let done = Command::new("ip").args(line.split(' ')).output().expect("apt-get install iproute2");
    assert!(done.status.success(), "ip {line}: {}", String::from_utf8_lossy(&done.stderr));
}

impl Rack {
    /// A hub at .55, as the server would be, and a namespace per address.
    fn new(addresses: &[&str]) -> Rack {
        let tag = format!("fltopo{}", std::process::id());
        let hub = format!("{tag}h");
        let blades = (0..addresses.len()).map(|n| format!("{tag}b{n}")).collect();
        let rack = Rack { hub, blades, running: Vec::new() };
        let hub = &rack.hub;
        ip(&format!("netns add {hub}"));
        ip(&format!("-n {hub} link add br0 type bridge"));
        ip(&format!("-n {hub} addr add 10.12.1.55/24 dev br0"));
        ip(&format!("-n {hub} link set br0 up"));
        for (n, (blade, address)) in rack.blades.iter().zip(addresses).enumerate() {
            ip(&format!("netns add {blade}"));
            ip(&format!("-n {hub} link add v{n} type veth peer name nic0 netns {blade}"));
            ip(&format!("-n {hub} link set v{n} master br0 up"));
            ip(&format!("-n {blade} addr add {address}/24 dev nic0"));
            ip(&format!("-n {blade} link set nic0 up"));
            ip(&format!("-n {blade} link set lo up"));
        }
        rack
    }

    fn inside(&self, namespace: &str, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace, program]);
        command
    }

    fn ask(&self, program: &str, args: &[&str]) -> String {
        let output = self.inside(&self.hub, program).args(args).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Rack {
    fn drop(&mut self) {
        for child in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
        for namespace in self.blades.iter().chain([&self.hub]) {
            let _ = Command::new("ip").args(["netns", "del", namespace]).status();
        }
    }
}

#[test]
fn three_rendered_voters_form_a_healthy_cluster_c02() {
    for (program, package) in
        [("etcd", "etcd-server"), ("etcdctl", "etcd-client"), ("curl", "curl")]
    {
        let found = Command::new(program).arg("--version").output().is_ok();
        assert!(found, "{program} is missing: apt-get install {package}");
    }
    let spec = cluster("small-cluster", Os::Debian, &[21, 22, 23]);
    let plan = shipped().probe(&spec);
    let mut rack = Rack::new(&["10.12.1.21", "10.12.1.22", "10.12.1.23"]);
    let data = tempfile::tempdir().unwrap();
    for (n, member) in plan.etcd.iter().enumerate() {
        let document = render(&spec, member.blade.as_str());
        let env = document.files.iter().find(|file| file.path == "/etc/default/etcd").unwrap();
        let variables = env.content.lines().map(|line| line.split_once('=').unwrap());
        let child = rack
            .inside(&rack.blades[n], "etcd")
            .envs(variables)
            .env("ETCD_DATA_DIR", data.path().join(&member.name))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        rack.running.push(child);
    }
    let until = Instant::now() + Duration::from_secs(180);
    let health = |url: &str| {
        let body = rack.ask("curl", &["-s", "-m", "5", "--noproxy", "*", &format!("{url}/health")]);
        serde_json::from_str::<Value>(&body).is_ok_and(|body| body["health"] == "true")
    };
    while !plan.etcd.iter().all(|member| health(&member.client_url())) {
        assert!(Instant::now() < until, "the cluster did not become healthy");
        std::thread::yield_now();
    }
    let endpoint = plan.etcd[0].client_url();
    let list = rack.ask("etcdctl", &["--endpoints", &endpoint, "member", "list", "-w", "json"]);
    let list: Value = serde_json::from_str(&list).unwrap_or_else(|e| panic!("{e}: {list}"));
    let mut names: Vec<&str> =
        list["members"].as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    let expected: Vec<&str> = plan.etcd.iter().map(|member| &member.name[..]).collect();
    assert_eq!(names, expected);
}
