//! What the services count, for `/metrics`.

use std::{collections::BTreeMap, sync::Arc};

use crate::{blade::Exposition, dhcp, dhcp6, tftp};

/// Of those that run.
pub fn of(
    dhcp: Option<&dhcp::Server>,
    dhcp6: Option<&dhcp6::Server>,
    tftp: &Arc<tftp::Notices>,
) -> Arc<dyn Fn() -> String + Send + Sync> {
    let dhcp = dhcp.map(dhcp::Server::metrics);
    let dhcp6 = dhcp6.map(dhcp6::Server::metrics);
    let tftp = Arc::clone(tftp);
    Arc::new(move || {
        let mut text = dhcp.as_ref().map(|dhcp| dhcp()).unwrap_or_default();
        text += &dhcp6.as_ref().map(|dhcp6| dhcp6()).unwrap_or_default();
        let help = "TFTP packets not understood or refused, by cause.";
        text + &causes("firstlight_tftp_dropped_total", help, tftp.counts())
    })
}

fn causes<C: ToString>(name: &'static str, help: &str, counts: BTreeMap<C, u64>) -> String {
    let counts = counts.into_iter().map(|(cause, count)| (cause.to_string(), count));
    Exposition::default().family(name, "counter", help).each("cause", counts).finish()
}
