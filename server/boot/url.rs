//! The base of every address that a blade is told.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The configured URL, unless its host is an address of the IP version that `of` is not: a blade
/// that has only IPv6 cannot reach `http://10.12.0.1`.
pub fn url_for(configured: Option<&str>, of: IpAddr) -> Option<&str> {
    let v4 = matches!(of.to_canonical(), IpAddr::V4(_));
    configured.filter(|url| match literal(url) {
        None => true,
        Some(host) => host.is_ipv4() == v4,
    })
}

/// The configured URL where it can be reached, else that of the boot listener at `here`.
pub fn base_url(configured: Option<&str>, here: IpAddr, port: u16) -> String {
    if let Some(url) = url_for(configured, here) {
        return url.to_owned();
    }
    let host = match here.to_canonical() {
        IpAddr::V4(ip) => ip.to_string(),
        // RFC 3986 §3.2.2.
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    if port == 80 { format!("http://{host}") } else { format!("http://{host}:{port}") }
}

/// The address that a URL names, unless it has a host's name in that place.
pub fn literal(url: &str) -> Option<IpAddr> {
    let rest = url.split_once("://")?.1;
    let authority = rest.split('/').next()?;
    match authority.strip_prefix('[') {
        Some(inner) => inner.split(']').next()?.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => authority.split(':').next()?.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blade_is_told_an_address_of_its_own_ip_version() {
        let (v4, v6): (IpAddr, IpAddr) =
            ("10.12.0.1".parse().unwrap(), "fd00:12::1".parse().unwrap());
        assert_eq!(base_url(None, v6, 80), "http://[fd00:12::1]");
        assert_eq!(base_url(None, v6, 8080), "http://[fd00:12::1]:8080");
        assert_eq!(base_url(None, v4, 80), "http://10.12.0.1");
        let told = |url, here| base_url(Some(url), here, 80);
        assert_eq!(told("http://10.0.0.9:81", v4), "http://10.0.0.9:81");
        assert_eq!(told("http://10.0.0.9:81", v6), "http://[fd00:12::1]");
        assert_eq!(told("http://[fd00::9]:81", v6), "http://[fd00::9]:81");
        assert_eq!(told("http://[fd00::9]", v4), "http://10.12.0.1");
        assert_eq!(told("http://boot.example", v6), "http://boot.example");
        let mapped: IpAddr = "::ffff:10.12.0.7".parse().unwrap();
        assert_eq!(url_for(Some("http://10.0.0.9"), mapped), Some("http://10.0.0.9"));
    }
}
