//! What a site needs that boots nothing: a boot image of a few bytes, a disk of a few megabytes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use sha2::{Digest, Sha256};

/// Octets that no two places of a file have in common.
pub fn octets(length: usize) -> Vec<u8> {
    (0_u32..).flat_map(|n| Sha256::digest(n.to_be_bytes()).to_vec()).take(length).collect()
}

/// Makes a boot image in `dir`: a kernel of 100 kB, an initrd of 5 kB, a disk image of 3 MB.
pub fn image(dir: &Path) -> PathBuf {
    fs::create_dir_all(dir).unwrap();
    let mut manifest = "[bundle]\nname = \"small\"\nversion = \"1\"\nos = \"debian\"\n\
                        os_version = \"12\"\ncreated = \"2026-11-20T00:00:00Z\"\n"
        .to_owned();
    for (kind, length) in [("kernel", 100_000), ("initrd", 5_000), ("image", 3_000_000)] {
        let bytes = octets(length);
        fs::write(dir.join(kind), &bytes).unwrap();
        manifest += &format!(
            "[[artifact]]\npath = \"{kind}\"\nkind = \"{kind}\"\narch = \"amd64\"\n\
             size = {}\nsha256 = \"{}\"\n",
            bytes.len(),
            hex::encode(Sha256::digest(&bytes))
        );
    }
    manifest += "compression = \"none\"\nroot_partition = 3\nmin_ram_mb = 384\n";
    fs::write(dir.join("bundle.toml"), manifest).unwrap();
    dir.to_owned()
}

/// Takes the power sockets out of an inventory: the daemon starts no blade by itself.
pub fn by_hand(inventory: &Path) {
    let text = fs::read_to_string(inventory).unwrap();
    let kept: Vec<&str> = text.lines().filter(|line| !line.starts_with("bmc = ")).collect();
    fs::write(inventory, kept.join("\n")).unwrap();
}

/// A disk in memory, mounted as long as it lives.
pub struct Disk(PathBuf);

impl Disk {
    pub fn mount(at: &Path, megabytes: u32) -> Disk {
        let size = format!("size={megabytes}m");
        mount(Some("firstlight-test"), at, Some("tmpfs"), MsFlags::empty(), Some(size.as_str()))
            .unwrap();
        Disk(at.to_owned())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Detached: the daemon may still be writing to it.
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}
