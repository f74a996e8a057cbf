use super::*;

fn good() -> String {
    let digest = "ab".repeat(32);
    format!(
        r#"
[bundle]
name = "debian-12"
version = "12.11-20261120"
os = "debian"
os_version = "12"
created = "2026-11-20T00:00:00Z"
[[artifact]]
path = "vmlinuz"
kind = "kernel"
arch = "amd64"
size = 123
sha256 = "{digest}"
[[artifact]]
path = "disk.img.gz"
kind = "image"
arch = "amd64"
size = 1
sha256 = "{digest}"
compression = "gzip"
unpacked_size = 10
unpacked_sha256 = "{digest}"
root_partition = 3
min_ram_mb = 384
"#
    )
}

#[test]
fn a_bundle_is_understood() {
    let set = ImageSet::parse(&good()).unwrap();
    assert_eq!((set.name.as_str(), set.os, set.size()), ("debian-12", Os::Debian, 124));
    let image = set.artifact(Kind::Image, Arch::Amd64).unwrap();
    assert_eq!(image.disk.as_ref().unwrap().root_partition, 3);
    assert_eq!(set.missing(Arch::Amd64), [Kind::Initrd]);
    assert_eq!(set.missing(Arch::Arm64).len(), 3);
}

#[test]
fn each_mistake_is_named() {
    for (from, to, told) in [
        ("\"vmlinuz\"", "\"../vmlinuz\"", "artifact \"../vmlinuz\": leads out of the bundle"),
        ("\"vmlinuz\"", "\"a/../vmlinuz\"", "leads out of the bundle"),
        ("\"vmlinuz\"", "\"/boot/vmlinuz\"", "is an absolute path"),
        ("\"vmlinuz\"", "\"./vmlinuz\"", "is no plain relative path"),
        ("\"vmlinuz\"", "\"\"", "is no plain relative path"),
        ("\"vmlinuz\"", "\"bundle.toml\"", "is no plain relative path"),
        ("\"vmlinuz\"", "\"a\\nb\"", "is no plain relative path"),
        ("\"vmlinuz\"", "\"disk.img.gz\"", "is listed twice"),
        ("kind = \"kernel\"", "kind = \"rootfs\"", "expected one of"),
        ("kind = \"kernel\"", "kind = \"initrd\"\nmin_ram_mb = 1", "min_ram_mb belongs to"),
        ("\"amd64\"\nsize = 123", "\"riscv64\"\nsize = 123", "use amd64 or arm64"),
        ("size = 123", "size = 0", "size is 0"),
        ("size = 123", "sise = 123", "unknown field `sise`"),
        ("\"gzip\"", "\"xz\"", "expected one of"),
        ("\"gzip\"", "\"none\"", "is not compressed, so"),
        ("root_partition = 3", "", "an image needs root_partition"),
        ("root_partition = 3", "root_partition = 0", "root_partition is 1-128"),
        ("\"debian-12\"", "\"debian..12\"", "bundle.name"),
        ("\"debian-12\"", "\"../x\"", "bundle.name"),
        ("\"debian-12\"", "\"\"", "bundle.name"),
        ("os = \"debian\"", "os = \"plan9\"", "expected `debian` or `flatcar`"),
        ("2026-11-20T00:00:00Z", "yesterday", "bundle.created"),
    ] {
        let told_us = ImageSet::parse(&good().replacen(from, to, 1)).unwrap_err();
        assert!(told_us.contains(told), "{to}: {told_us}");
    }
    let upper = good().replacen("sha256 = \"abab", "sha256 = \"ABAB", 1);
    assert!(ImageSet::parse(&upper).unwrap_err().contains("lower-case hex"));
    let second = good().replacen("kind = \"kernel\"", "kind = \"image\"", 1);
    assert!(ImageSet::parse(&second).unwrap_err().contains("needs compression"));
}
