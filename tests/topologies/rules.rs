//! What may be deployed: counts, quorum, names, keys, parameters, addresses.
use firstlight::topology::{ClusterSpec, Os, ReadyWhen};
use rstest::rstest;
use serde_json::{Value, json};

use super::{KEY, cluster, name, node, render, shipped};

fn codes(spec: &ClusterSpec) -> Vec<&'static str> {
    shipped().check(spec).into_iter().map(|problem| problem.code).collect()
}

fn small(nodes: u8, parameters: Value) -> ClusterSpec {
    let nodes: Vec<u8> = (21..21 + nodes).collect();
    let mut spec = cluster("small-cluster", Os::Debian, &nodes);
    spec.parameters.extend(parameters.as_object().unwrap().clone());
    spec
}

#[rstest]
#[case::three(3, json!({}), 3)]
#[case::four_has_a_client(4, json!({}), 3)]
#[case::nine_has_four_clients(9, json!({}), 5)]
#[case::seven_on_request(9, json!({ "etcd_voters": 7 }), 7)]
#[case::one_on_request(3, json!({ "etcd_voters": 1 }), 1)]
fn voters_of_a_small_cluster_c03_c04(
    #[case] nodes: u8,
    #[case] parameters: Value,
    #[case] voters: usize,
) {
    let spec = small(nodes, parameters);
    assert_eq!(shipped().check(&spec), []);
    let plan = shipped().probe(&spec);
    assert_eq!(plan.etcd.len(), voters);
    let asked = |ask: &&firstlight::topology::Ask| matches!(ask.ready, ReadyWhen::Etcd { .. });
    assert_eq!(plan.asks.iter().filter(asked).count(), voters);
    assert_eq!(plan.asks.len(), usize::from(nodes));
}

#[rstest]
#[case::two_nodes(2, json!({}), "E_ROLE_COUNT")]
#[case::ten_nodes(10, json!({}), "E_ROLE_COUNT")]
#[case::even(4, json!({ "etcd_voters": 4 }), "E_QUORUM_EVEN")]
#[case::none(4, json!({ "etcd_voters": 0 }), "E_QUORUM_MIN")]
#[case::nine(9, json!({ "etcd_voters": 9 }), "E_QUORUM_MAX")]
#[case::more_than_blades(4, json!({ "etcd_voters": 5 }), "E_QUORUM_MAX")]
#[case::no_number(4, json!({ "etcd_voters": "3" }), "E_PARAM_TYPE")]
#[case::not_whole(4, json!({ "etcd_voters": 3.5 }), "E_PARAM_TYPE")]
#[case::off_as_bool(4, json!({ "reboot_strategy": false }), "E_PARAM_TYPE")]
#[case::too_slow(4, json!({ "etcd_heartbeat_ms": 60000 }), "E_PARAM_RANGE")]
fn clusters_that_cannot_be_are_refused_c02_c03_c04(
    #[case] nodes: u8,
    #[case] parameters: Value,
    #[case] code: &str,
) {
    assert_eq!(codes(&small(nodes, parameters)), [code]);
}

#[rstest]
#[case("Node_1")]
#[case("a.b")]
#[case("")]
#[case("a\nruncmd: [x]")]
#[case(&"a".repeat(64))]
#[case("{{ nothing_known }}")]
#[case("{% broken")]
fn an_illegal_host_name_is_refused_c21(#[case] pattern: &str) {
    let mut spec = cluster("simple", Os::Debian, &[11]);
    spec.parameters.insert("hostname".into(), pattern.into());
    assert_eq!(codes(&spec), ["E_HOSTNAME"]);
}

#[test]
fn two_blades_cannot_have_one_host_name_c21() {
    let problems = shipped().check(&small(3, json!({ "hostname": "node" })));
    assert_eq!(problems.iter().map(|p| p.code).collect::<Vec<_>>(), ["E_HOSTNAME_DUP"; 2]);
    assert_eq!(problems[0].message, "n21 and n22 would both be node");
    assert_eq!(codes(&small(3, json!({ "hostname": "{{ cluster }}-{{ blade }}" }))), [""; 0]);
}

#[rstest]
#[case::private(json!(["-----BEGIN OPENSSH PRIVATE KEY-----"]))]
#[case::dss(json!(["ssh-dss AAAAB3NzaC1kc3MAAAAA"]))]
#[case::kind_and_data_differ(json!(["ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"]))]
#[case::two_lines(json!([format!("{KEY}\nruncmd: [x]")]))]
#[case::empty_list(json!([]))]
#[case::no_list(json!(KEY))]
#[case::no_text(json!([7]))]
fn a_key_that_is_no_public_key_is_refused_c22(#[case] keys: Value) {
    let mut spec = cluster("simple", Os::Debian, &[11]);
    spec.parameters.insert("ssh_keys".into(), keys);
    let problems = shipped().check(&spec);
    assert_eq!(problems.iter().map(|p| p.code).collect::<Vec<_>>(), ["E_SSHKEY"]);
    assert!(!problems[0].to_string().contains("BEGIN"), "a private key is not repeated");
    spec.parameters.remove("ssh_keys");
    assert_eq!(codes(&spec), ["E_SSHKEY"], "somebody must be able to log in");
}

#[test]
fn a_misspelt_name_is_answered_with_the_right_one_c26() {
    let spec = small(3, json!({ "etcd_votes": 3 }));
    let [problem] = &shipped().check(&spec)[..] else { panic!() };
    assert_eq!(problem.code, "E_PARAM_UNKNOWN");
    assert!(problem.message.ends_with("did you mean etcd_voters?"), "{problem}");
    let spec = cluster("smal-cluster", Os::Debian, &[21, 22, 23]);
    let [problem] = &shipped().check(&spec)[..] else { panic!() };
    assert_eq!(problem.code, "E_TOPOLOGY_UNKNOWN");
    assert!(problem.message.ends_with("did you mean small-cluster?"), "{problem}");
    let mut spec = small(3, json!({}));
    spec.members[0].role = "worker".into();
    assert_eq!(codes(&spec), ["E_ROLE_UNKNOWN", "E_ROLE_COUNT"]);
}

#[test]
fn every_problem_is_told_not_only_the_first() {
    let mut spec = small(2, json!({ "etcd_voters": 2, "nonsense": 1, "hostname": "x" }));
    spec.members[0].net.gateway = Some([192, 168, 0, 1].into());
    let expected = ["E_PARAM_UNKNOWN", "E_ROLE_COUNT", "E_NET_GATEWAY", "E_HOSTNAME_DUP"];
    assert_eq!(codes(&spec), [&expected[..], &["E_QUORUM_EVEN"]].concat());
}

#[test]
fn addresses_must_make_sense_before_anything_is_powered_on() {
    type Change = fn(&mut ClusterSpec);
    let cases: [(&str, Change); 11] = [
        ("E_NET_PREFIX", |spec| spec.members[0].net.prefix = 33),
        ("E_NET_PREFIX", |spec| spec.members[0].net.prefix = 0),
        ("E_NET_IP", |spec| spec.members[0].net.ip = [10, 12, 1, 255].into()),
        ("E_NET_IP", |spec| spec.members[0].net.ip = [10, 12, 1, 0].into()),
        ("E_NET_GATEWAY", |spec| spec.members[0].net.gateway = Some([10, 12, 1, 21].into())),
        ("E_NET_DNS", |spec| spec.members[0].net.dns = vec![[10, 12, 1, 1].into(); 4]),
        ("E_NET_DOMAIN", |spec| spec.members[0].net.domain = Some("a b".into())),
        ("E_NET_DOMAIN", |spec| spec.members[0].net.domain = Some("a\nETCD_X=1".into())),
        ("E_MAC", |spec| spec.members[0].mac = "01:00:5e:00:00:01".parse().unwrap()),
        ("E_MAC_DUP", |spec| spec.members[0].mac = spec.members[1].mac),
        ("E_BLADE_DUP", |spec| spec.members[0].blade = name("n22")),
    ];
    for (code, change) in cases {
        let mut spec = small(3, json!({}));
        change(&mut spec);
        assert_eq!(codes(&spec), [code]);
        assert_eq!(shipped().render(&spec, &name("n22")).unwrap_err().code, code);
    }
    let mut twins = small(3, json!({}));
    twins.members[0].net.ip = twins.members[1].net.ip;
    assert!(codes(&twins).contains(&"E_NET_DUP"));
}

/// A cluster of a topology with several roles.
fn mixed(topology: &str, roles: &[(&str, u8)], parameters: Value) -> ClusterSpec {
    let mut spec = cluster(topology, Os::Debian, &[]);
    let all = roles.iter().flat_map(|(role, count)| (0..*count).map(move |_| *role));
    spec.members = all.zip(11..).map(|(role, nn)| node(role, nn)).collect();
    spec.parameters.extend(parameters.as_object().unwrap().clone());
    spec
}

#[test]
fn a_development_cluster_has_one_etcd_and_at_least_one_worker_c05() {
    let develop = |roles: &[(&str, u8)]| shipped().check(&mixed("develop", roles, json!({})));
    assert_eq!(develop(&[("develop-etcd", 1), ("develop-worker", 2)]), []);
    let alone = develop(&[("develop-worker", 1)]);
    assert_eq!(alone.len(), 1, "{alone:?}");
    assert_eq!(alone[0].code, "E_ROLE_MISSING");
    assert!(alone[0].message.contains("develop-etcd"), "{}", alone[0]);
    let two = develop(&[("develop-etcd", 2), ("develop-worker", 1)]);
    assert_eq!(two.iter().map(|p| p.code).collect::<Vec<_>>(), ["E_ROLE_COUNT"]);
}

#[rstest]
#[case(1, json!({}), &["E_QUORUM_MIN"])]
#[case(1, json!({ "allow_single": true }), &[])]
#[case(2, json!({}), &["E_QUORUM_EVEN"])]
#[case(2, json!({ "allow_single": true }), &["E_QUORUM_EVEN"])]
#[case(3, json!({}), &[])]
#[case(4, json!({}), &["E_QUORUM_EVEN"])]
#[case(5, json!({}), &[])]
#[case(7, json!({}), &["E_ROLE_COUNT"])]
fn central_services_are_three_or_five_c06(
    #[case] central: u8,
    #[case] parameters: Value,
    #[case] expected: &[&str],
) {
    let roles = [("production-central", central), ("production-worker", 2)];
    assert_eq!(codes(&mixed("production", &roles, parameters)), expected);
}

#[test]
fn a_production_worker_knows_all_three_centrals_c07() {
    let roles = [("production-worker", 1), ("production-central", 3)];
    let document = render(&mixed("production", &roles, json!({})), "n11");
    assert_eq!(document.hostname, name("worker-10-12-1-11"));
    let profile = document.files.iter().find(|f| f.path == "/etc/profile.d/etcdctl.sh").unwrap();
    let three = "http://10.12.1.12:2379,http://10.12.1.13:2379,http://10.12.1.14:2379";
    assert_eq!(profile.content, format!("export ETCDCTL_ENDPOINTS={three}\n"));
    assert!(!document.units.iter().any(|unit| unit.name.contains("etcd")));
}
