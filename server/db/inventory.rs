//! The inventory as stored: written whole by `apply`, read whole into a snapshot.

use std::collections::BTreeMap;

use futures_util::TryFutureExt;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sqlx::FromRow;

use super::{DbError, Result, Tx, on, parsed, parsed_option, sql};
use crate::{
    blade::Mac,
    inventory::{BladeDoc, BootRule, Chassis, ClusterDoc, Document, Place, Rack},
};

sql! {
    CLEAR_CLUSTER_BLADES = "DELETE FROM cluster_blades";
    CLEAR_CLUSTERS = "DELETE FROM clusters";
    CLEAR_RESERVATIONS = "DELETE FROM reservations";
    CLEAR_BOOT_RULES = "DELETE FROM boot_rules";
    CLEAR_BLADES = "DELETE FROM blades";
    CLEAR_CHASSIS = "DELETE FROM chassis";
    CLEAR_RACKS = "DELETE FROM racks";
    INSERT_RACK = "INSERT INTO racks (name, position) VALUES ($1, $2)";
    INSERT_CHASSIS = "INSERT INTO chassis (rack, name, position, slots, bmc_first, ip_first, ip6_first) \
        VALUES ($1, $2, $3, $4, $5, $6, $7)";
    INSERT_BLADE = "INSERT INTO blades (name, position, rack, chassis, slot, arch, ip, bmc, disk, boot, ip6, duid) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
    INSERT_BOOT_RULE = "INSERT INTO boot_rules (name, position, rule) VALUES ($1, $2, $3)";
    INSERT_RESERVATION = "INSERT INTO reservations (mac, blade, position, ip) VALUES ($1, $2, $3, $4)";
    INSERT_CLUSTER = "INSERT INTO clusters (name, position, topology, image, parameters) \
        VALUES ($1, $2, $3, $4, $5)";
    INSERT_CLUSTER_BLADE = "INSERT INTO cluster_blades (blade, cluster, role, position) \
        VALUES ($1, $2, $3, $4)";
    ALL_RACKS = "SELECT name FROM racks ORDER BY position";
    ALL_CHASSIS = "SELECT rack, name, slots, bmc_first, ip_first, ip6_first FROM chassis ORDER BY rack, position";
    ALL_BLADES = "SELECT name, rack, chassis, slot, arch, ip, bmc, disk, boot, ip6, duid FROM blades ORDER BY position";
    ALL_BOOT_RULES = "SELECT name, rule FROM boot_rules ORDER BY position";
    ALL_RESERVATIONS = "SELECT mac, blade FROM reservations ORDER BY blade, position";
    ALL_CLUSTERS = "SELECT name, topology, image, parameters FROM clusters ORDER BY position";
    ALL_CLUSTER_BLADES = "SELECT blade, cluster, role FROM cluster_blades ORDER BY cluster, role, position";
}

#[derive(FromRow)]
struct ChassisRow {
    rack: String,
    name: String,
    slots: i64,
    bmc_first: Option<String>,
    ip_first: Option<String>,
    ip6_first: Option<String>,
}

#[derive(FromRow)]
struct BladeRow {
    name: String,
    rack: Option<String>,
    chassis: Option<String>,
    slot: Option<i64>,
    arch: Option<String>,
    ip: Option<String>,
    bmc: Option<String>,
    disk: Option<String>,
    boot: Option<String>,
    ip6: Option<String>,
    duid: Option<String>,
}

/// What a blade's firmware is to load, as one column.
#[derive(Default, PartialEq, Serialize, Deserialize)]
struct BootColumn {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secure_boot: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    loader: Option<String>,
}

impl BootColumn {
    fn of(blade: &BladeDoc) -> Option<BootColumn> {
        let column = BootColumn {
            model: blade.model.clone(),
            secure_boot: blade.secure_boot,
            loader: blade.loader.clone(),
        };
        (column != BootColumn::default()).then_some(column)
    }
}

#[derive(FromRow)]
struct ClusterRow {
    name: String,
    topology: String,
    image: Option<String>,
    parameters: String,
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn from_json<T: DeserializeOwned>(table: &'static str, key: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| DbError::Corrupt {
        table,
        key: key.to_owned(),
        message: error.to_string(),
    })
}

fn position(index: usize) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX)
}

/// Replaces the whole inventory. `document` has passed `inventory::check`; `addresses` are the
/// blades' reserved addresses, written or given by a rule.
pub async fn store_inventory(
    tx: &mut Tx,
    document: &Document,
    addresses: &BTreeMap<Mac, String>,
) -> Result<()> {
    for clear in [
        CLEAR_CLUSTER_BLADES,
        CLEAR_CLUSTERS,
        CLEAR_RESERVATIONS,
        CLEAR_BOOT_RULES,
        CLEAR_BLADES,
        CLEAR_CHASSIS,
        CLEAR_RACKS,
    ] {
        on!(tx, conn => sqlx::query(clear).execute(conn).map_ok(drop))?;
    }
    for (index, rack) in document.racks.iter().enumerate() {
        store_rack(tx, index, rack).await?;
    }
    for (index, blade) in document.blades.iter().enumerate() {
        store_blade(tx, index, blade, addresses).await?;
    }
    for (index, rule) in document.boot_rules.iter().enumerate() {
        on!(tx, conn => sqlx::query(INSERT_BOOT_RULE).bind(&rule.name).bind(position(index)).bind(json(rule)).execute(conn).map_ok(drop))?;
    }
    for (index, cluster) in document.clusters.iter().enumerate() {
        store_cluster(tx, index, cluster).await?;
    }
    Ok(())
}

async fn store_rack(tx: &mut Tx, index: usize, rack: &Rack) -> Result<()> {
    on!(tx, conn => sqlx::query(INSERT_RACK).bind(rack.name.as_str()).bind(position(index)).execute(conn).map_ok(drop))?;
    for (index, chassis) in rack.chassis.iter().enumerate() {
        on!(tx, conn => sqlx::query(INSERT_CHASSIS)
            .bind(rack.name.as_str())
            .bind(chassis.name.as_str())
            .bind(position(index))
            .bind(i64::from(chassis.slots))
            .bind(chassis.bmc_first.map(|ip| ip.to_string()))
            .bind(chassis.ip_first.map(|ip| ip.to_string()))
            .bind(chassis.ip6_first.map(|ip| ip.to_string()))
            .execute(conn).map_ok(drop))?;
    }
    Ok(())
}

async fn store_blade(
    tx: &mut Tx,
    index: usize,
    blade: &BladeDoc,
    addresses: &BTreeMap<Mac, String>,
) -> Result<()> {
    let place = blade.slot.as_ref();
    on!(tx, conn => sqlx::query(INSERT_BLADE)
        .bind(blade.name.as_str())
        .bind(position(index))
        .bind(place.map(|place| place.rack.as_str()))
        .bind(place.map(|place| place.chassis.as_str()))
        .bind(place.map(|place| i64::from(place.slot)))
        .bind(blade.arch.map(|arch| arch.as_str()))
        .bind(blade.ip.map(|ip| ip.to_string()))
        .bind(blade.bmc.as_ref().map(json))
        .bind(blade.disk.as_ref().map(json))
        .bind(BootColumn::of(blade).as_ref().map(json))
        .bind(blade.ip6.map(|ip| ip.to_string()))
        .bind(blade.duid.as_ref().map(ToString::to_string))
        .execute(conn).map_ok(drop))?;
    for (index, mac) in blade.macs.iter().enumerate() {
        on!(tx, conn => sqlx::query(INSERT_RESERVATION)
            .bind(mac.to_string())
            .bind(blade.name.as_str())
            .bind(position(index))
            .bind(addresses.get(mac).map(String::as_str))
            .execute(conn).map_ok(drop))?;
    }
    Ok(())
}

async fn store_cluster(tx: &mut Tx, index: usize, cluster: &ClusterDoc) -> Result<()> {
    on!(tx, conn => sqlx::query(INSERT_CLUSTER)
        .bind(cluster.name.as_str())
        .bind(position(index))
        .bind(cluster.topology.as_str())
        .bind(cluster.image.as_deref())
        .bind(json(&cluster.parameters))
        .execute(conn).map_ok(drop))?;
    for (role, blades) in &cluster.roles {
        for (index, blade) in blades.iter().enumerate() {
            on!(tx, conn => sqlx::query(INSERT_CLUSTER_BLADE)
                .bind(blade.as_str())
                .bind(cluster.name.as_str())
                .bind(role.as_str())
                .bind(position(index))
                .execute(conn).map_ok(drop))?;
        }
    }
    Ok(())
}

/// The whole inventory, in the order it was written.
pub async fn load_inventory(tx: &mut Tx) -> Result<Document> {
    Ok(Document {
        racks: load_racks(tx).await?,
        blades: load_blades(tx).await?,
        boot_rules: load_boot_rules(tx).await?,
        clusters: load_clusters(tx).await?,
    })
}

async fn load_racks(tx: &mut Tx) -> Result<Vec<Rack>> {
    let names: Vec<(String,)> = on!(tx, conn => sqlx::query_as(ALL_RACKS).fetch_all(conn))?;
    let chassis: Vec<ChassisRow> = on!(tx, conn => sqlx::query_as(ALL_CHASSIS).fetch_all(conn))?;
    let mut racks = Vec::with_capacity(names.len());
    for (name,) in &names {
        racks.push(Rack { name: parsed("racks", name, name)?, chassis: Vec::new() });
    }
    for row in chassis {
        let key = format!("{}/{}", row.rack, row.name);
        let chassis = Chassis {
            name: parsed("chassis", &key, &row.name)?,
            slots: parsed("chassis", &key, &row.slots.to_string())?,
            bmc_first: parsed_option("chassis", &key, row.bmc_first.as_deref())?,
            ip_first: parsed_option("chassis", &key, row.ip_first.as_deref())?,
            ip6_first: parsed_option("chassis", &key, row.ip6_first.as_deref())?,
        };
        if let Some(rack) = racks.iter_mut().find(|rack| rack.name.as_str() == row.rack) {
            rack.chassis.push(chassis);
        }
    }
    Ok(racks)
}

async fn load_blades(tx: &mut Tx) -> Result<Vec<BladeDoc>> {
    let rows: Vec<BladeRow> = on!(tx, conn => sqlx::query_as(ALL_BLADES).fetch_all(conn))?;
    let macs: Vec<(String, String)> =
        on!(tx, conn => sqlx::query_as(ALL_RESERVATIONS).fetch_all(conn))?;
    let mut by_blade: BTreeMap<String, Vec<Mac>> = BTreeMap::new();
    for (mac, blade) in macs {
        by_blade.entry(blade).or_default().push(parsed("reservations", &mac, &mac)?);
    }
    rows.into_iter()
        .map(|row| {
            let key = row.name.as_str();
            let slot = match (&row.rack, &row.chassis, row.slot) {
                (Some(rack), Some(chassis), Some(slot)) => Some(Place {
                    rack: parsed("blades", key, rack)?,
                    chassis: parsed("blades", key, chassis)?,
                    slot: parsed("blades", key, &slot.to_string())?,
                }),
                _ => None,
            };
            let boot: Option<BootColumn> =
                row.boot.as_deref().map(|text| from_json("blades", key, text)).transpose()?;
            let BootColumn { model, secure_boot, loader } = boot.unwrap_or_default();
            Ok(BladeDoc {
                name: parsed("blades", key, key)?,
                slot,
                macs: by_blade.remove(key).unwrap_or_default(),
                arch: parsed_option("blades", key, row.arch.as_deref())?,
                model,
                secure_boot,
                loader,
                ip: parsed_option("blades", key, row.ip.as_deref())?,
                ip6: parsed_option("blades", key, row.ip6.as_deref())?,
                duid: parsed_option("blades", key, row.duid.as_deref())?,
                bmc: row.bmc.as_deref().map(|text| from_json("blades", key, text)).transpose()?,
                disk: row.disk.as_deref().map(|text| from_json("blades", key, text)).transpose()?,
            })
        })
        .collect()
}

async fn load_boot_rules(tx: &mut Tx) -> Result<Vec<BootRule>> {
    let rows: Vec<(String, String)> =
        on!(tx, conn => sqlx::query_as(ALL_BOOT_RULES).fetch_all(conn))?;
    rows.iter().map(|(name, rule)| from_json("boot_rules", name, rule)).collect()
}

async fn load_clusters(tx: &mut Tx) -> Result<Vec<ClusterDoc>> {
    let rows: Vec<ClusterRow> = on!(tx, conn => sqlx::query_as(ALL_CLUSTERS).fetch_all(conn))?;
    let members: Vec<(String, String, String)> =
        on!(tx, conn => sqlx::query_as(ALL_CLUSTER_BLADES).fetch_all(conn))?;
    rows.into_iter()
        .map(|row| {
            let mut roles: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for (blade, _, role) in members.iter().filter(|(_, cluster, _)| *cluster == row.name) {
                roles.entry(role.clone()).or_default().push(blade.clone());
            }
            Ok(ClusterDoc {
                name: parsed("clusters", &row.name, &row.name)?,
                parameters: from_json("clusters", &row.name, &row.parameters)?,
                topology: row.topology,
                image: row.image,
                roles,
            })
        })
        .collect()
}
