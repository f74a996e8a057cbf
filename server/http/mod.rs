//! HTTP (layer 4): two listeners that share nothing but the journal and the snapshot. Blades
//! reach `boot`; people reach `api` and `ui`.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::{
    boot::Rehearse,
    db::DbError,
    images::{Images, Loaders},
    inventory::{ClusterDoc, Snapshot},
    journal::Journal,
    reconcile,
    topology::{Catalogue, ClusterSpec, Os},
};

mod api;
mod blob;
mod boot;
mod console;
mod discovery;
mod install;
mod listen;
mod live;
mod machines;
mod operate;
mod orders;
mod pages;
mod people;
mod refusal;
mod rehearse;
mod reports;
mod throttle;
mod token;
pub mod view;

pub use boot::router as boot_router;
pub use listen::serve;
pub use orders::{base_at, document as boot_document};
pub use people::router as people_router;
pub use throttle::Repeats;
pub use token::BootKey;

/// What the handlers of both listeners need.
pub struct App {
    pub journal: Journal,
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    pub catalogue: Catalogue,
    pub images: Images,
    pub loaders: Loaders,
    pub key: BootKey,
    /// `boot.url`, or where it is not set the address asked on.
    pub boot_url: Option<String>,
    pub scripts: Scripts,
    /// What blades were told last.
    pub told: Repeats,
    pub shutdown: tokio_util::sync::CancellationToken,
    /// What a program on a MAC would be answered by DHCP now; nothing where it is off.
    pub rehearse: Rehearse,
    /// The same by DHCPv6.
    pub rehearse6: Rehearse,
    /// What `check` would say of this daemon's surroundings.
    pub check: Arc<dyn Fn() -> Vec<view::Finding> + Send + Sync>,
    /// Counters in the text format of Prometheus.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

pub type Shared = Arc<App>;

/// The shell scripts that blades run; an operator's own in `data_dir/cloud-configs` win.
#[derive(Default)]
pub struct Scripts {
    pub setup: String,
    pub install: String,
    pub inventory: String,
}

impl App {
    /// The boot image of a cluster: the one it names, or the only one.
    pub fn image_of(&self, cluster: &ClusterDoc) -> Result<Arc<crate::images::ImageSet>, String> {
        match &cluster.image {
            Some(name) => self.images.get(name).ok_or_else(|| {
                format!("cluster {}: there is no boot image {name:?}; import it with: firstlight image import DIR", cluster.name)
            }),
            None => self.images.only().ok_or_else(|| {
                format!(
                    "cluster {}: names no boot image, and there is not exactly one; set image = \"…\" or import one with: firstlight image import DIR",
                    cluster.name
                )
            }),
        }
    }

    /// The cluster as topologies see it; every problem that stands in the way, one a line.
    pub fn spec_of(
        &self,
        snapshot: &Snapshot,
        cluster: &ClusterDoc,
    ) -> Result<ClusterSpec, Vec<String>> {
        let os: Os = match self.image_of(cluster) {
            Ok(image) => image.os.to_string().parse().map_err(|error: String| vec![error])?,
            Err(problem) => return Err(vec![problem]),
        };
        reconcile::spec(snapshot, cluster, os)
    }
}

/// An error of the database, told to a client without its insides.
pub(crate) fn internal(error: &DbError) -> (axum::http::StatusCode, String) {
    tracing::error!("{error}");
    (
        axum::http::StatusCode::SERVICE_UNAVAILABLE,
        "the server cannot write its journal now; nothing was lost, try again\n".to_owned(),
    )
}
