//! From a cluster as asked for to its layout: who votes, what everyone is called; or all that is
//! wrong with it.

use std::collections::{BTreeMap, HashMap};

use super::{
    Catalogue, ClusterSpec, Member, Problem, Role, Topology,
    fill::Filler,
    layout::{Layout, Node},
    problem::nearest,
    quorum,
};
use crate::blade::Hostname;

/// The layout of a cluster that can be deployed.
pub(super) fn layout<'a>(
    catalogue: &'a Catalogue,
    spec: &'a ClusterSpec,
) -> Result<Layout<'a>, Vec<Problem>> {
    let topology = topology(catalogue, spec).map_err(|problem| vec![problem])?;
    let mut problems = topology.parameter_faults(&spec.parameters);
    problems.extend(role_faults(topology, spec));
    problems.extend(spec.members.iter().flat_map(net_faults));
    problems.extend(twice(spec, "E_BLADE_DUP", "blade", |member| member.blade.to_string()));
    problems.extend(twice(spec, "E_NET_DUP", "address", |member| member.net.ip.to_string()));
    problems.extend(twice(spec, "E_MAC_DUP", "MAC", |member| member.mac.to_string()));
    let mut layout = Layout {
        spec,
        topology,
        parameters: topology.complete(&spec.parameters),
        nodes: Vec::new(),
    };
    problems.extend(name_nodes(&mut layout));
    problems.extend(choose_voters(&mut layout));
    if problems.is_empty() { Ok(layout) } else { Err(problems) }
}

fn topology<'a>(catalogue: &'a Catalogue, spec: &ClusterSpec) -> Result<&'a Topology, Problem> {
    let Some(topology) = catalogue.topology(&spec.topology) else {
        let shown: String = spec.topology.chars().take(40).collect();
        let known = || catalogue.topologies().map(|topology| topology.id.as_str());
        let hint = match nearest(&shown, known()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("there are {}", known().collect::<Vec<_>>().join(", ")),
        };
        let message = format!("{shown:?} is no topology; {hint}");
        return Err(Problem::new("E_TOPOLOGY_UNKNOWN", "topology", message));
    };
    if !topology.available {
        let message = format!("{} comes with a later release", topology.id);
        return Err(Problem::new("E_TOPOLOGY_LATER", "topology", message));
    }
    Ok(topology)
}

fn role_faults(topology: &Topology, spec: &ClusterSpec) -> Vec<Problem> {
    let mut faults = Vec::new();
    let known = || topology.roles.iter().map(|role| role.id.as_str());
    for member in spec.members.iter().filter(|member| topology.role(&member.role).is_none()) {
        let shown: String = member.role.chars().take(40).collect();
        let roles = known().collect::<Vec<_>>().join(", ");
        let message = format!("{shown:?} is no role of {}, which has {roles}", topology.id);
        faults.push(Problem::new("E_ROLE_UNKNOWN", format!("blade {}", member.blade), message));
    }
    for role in &topology.roles {
        let count = spec.members.iter().filter(|member| member.role == role.id).count();
        faults.extend(count_fault(topology, role, count));
    }
    faults
}

fn count_fault(topology: &Topology, role: &Role, count: usize) -> Option<Problem> {
    let (min, max) = (role.count.min, role.count.max);
    if count == 0 && min > 0 && topology.roles.len() > 1 {
        let message = format!("no blade has the role {}, which {} needs", role.id, topology.id);
        return Some(Problem::new("E_ROLE_MISSING", format!("role {}", role.id), message));
    }
    if count >= usize::from(min) && max.is_none_or(|max| count <= usize::from(max)) {
        return None;
    }
    let range = match max {
        Some(max) if max == min => format!("exactly {min}"),
        Some(max) => format!("{min}-{max}"),
        None => format!("at least {min}"),
    };
    let message = format!("{count} blades have this role; it takes {range}");
    Some(Problem::new("E_ROLE_COUNT", format!("role {}", role.id), message))
}

fn net_faults(member: &Member) -> Vec<Problem> {
    let mut faults = Vec::new();
    let mut fault = |code, message: String| {
        faults.push(Problem::new(code, format!("blade {}", member.blade), message));
    };
    let net = &member.net;
    if member.mac.is_unusable() {
        fault("E_MAC", format!("{} cannot be the address of one card", member.mac));
    }
    let Some(cidr) = net.cidr().filter(|cidr| cidr.prefix_len() > 0) else {
        fault("E_NET_PREFIX", format!("/{} is no prefix; use 1-32", net.prefix));
        return faults;
    };
    let ip = net.ip;
    if ip.is_multicast() || ip.is_loopback() || ip.is_unspecified() || ip.is_broadcast() {
        fault("E_NET_IP", format!("{ip} cannot be the address of a blade"));
    }
    // RFC 3021: a /31 has neither network nor broadcast address.
    if net.prefix < 31 && (ip == cidr.network() || ip == cidr.broadcast()) {
        fault("E_NET_IP", format!("{ip} is the network or broadcast address of {}", cidr.trunc()));
    }
    if let Some(gateway) = net.gateway {
        if !cidr.contains(&gateway) {
            fault("E_NET_GATEWAY", format!("{gateway} is outside {}", cidr.trunc()));
        } else if gateway == ip {
            fault("E_NET_GATEWAY", format!("{gateway} is the blade's own address"));
        }
    }
    if net.dns.len() > 3 {
        fault("E_NET_DNS", format!("{} name servers; resolvers take at most 3", net.dns.len()));
    }
    if let Some(domain) = net.domain.as_ref().filter(|domain| !is_domain(domain)) {
        let shown: String = domain.chars().take(80).collect();
        fault("E_NET_DOMAIN", format!("{shown:?} is no domain name (RFC 1123 §2.1)"));
    }
    faults
}

fn is_domain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(|label| label.parse::<Hostname>().is_ok())
}

/// What two members must not share; names all who do.
fn twice(
    spec: &ClusterSpec,
    code: &'static str,
    what: &str,
    of: impl Fn(&Member) -> String,
) -> Vec<Problem> {
    let mut holders: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for member in &spec.members {
        holders.entry(of(member)).or_default().push(member.blade.as_str());
    }
    let shared = holders.into_iter().filter(|(_, blades)| blades.len() > 1);
    shared
        .map(|(value, blades)| {
            let message = format!("{} have one {what}, {value}", blades.join(" and "));
            Problem::new(code, what, message)
        })
        .collect()
}

/// Gives every blade its host name, by the parameter `hostname` or by its role's rule.
fn name_nodes(layout: &mut Layout<'_>) -> Vec<Problem> {
    let mut faults = Vec::new();
    let mut owners: HashMap<Hostname, Hostname> = HashMap::new();
    for member in &layout.spec.members {
        let Some(role) = layout.topology.role(&member.role) else { continue };
        let asked = layout.parameters.get("hostname").and_then(|value| value.as_str());
        let pattern = asked.unwrap_or(&role.hostname);
        let filled = Filler::new(layout.name_values(member)).plain(pattern);
        let hostname = match filled.map_err(|error| error.to_string()).and_then(|name| {
            name.parse::<Hostname>().map_err(|error| error.to_string().replace("E_HOSTNAME: ", ""))
        }) {
            Ok(hostname) => hostname,
            Err(why) => {
                let field = format!("hostname of {}", member.blade);
                faults.push(Problem::new("E_HOSTNAME", field, why));
                continue;
            }
        };
        if let Some(owner) = owners.insert(hostname.clone(), member.blade.clone()) {
            let message = format!("{owner} and {} would both be {hostname}", member.blade);
            faults.push(Problem::new("E_HOSTNAME_DUP", "hostname", message));
        }
        layout.nodes.push(Node { member, role, hostname, voter: false });
    }
    faults
}

/// Voters are the role's first blades by address, so that the order in which blades are listed
/// changes nothing.
fn choose_voters(layout: &mut Layout<'_>) -> Option<Problem> {
    let rule = layout.topology.etcd.as_ref()?;
    let parameter = |name: &str| layout.parameters.get(name);
    let asked = parameter("etcd_voters").and_then(|value| value.as_i64());
    let single = rule.single.as_deref().and_then(parameter).and_then(|value| value.as_bool());
    let mut able: Vec<&mut Node<'_>> =
        layout.nodes.iter_mut().filter(|node| node.role.id == rule.role).collect();
    let role = layout.topology.role(&rule.role)?;
    // A count that the role refuses anyway is one fault, not two.
    if asked.is_none() && count_fault(layout.topology, role, able.len()).is_some() {
        return None;
    }
    match quorum::voters(rule, able.len(), asked, single == Some(true)) {
        Ok(voters) => {
            able.sort_by_key(|node| node.member.net.ip);
            able.into_iter().take(voters).for_each(|node| node.voter = true);
            None
        }
        Err(problem) => Some(problem),
    }
}
