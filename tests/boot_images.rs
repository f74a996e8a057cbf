//! Boot images on their way into the store: all or nothing, every byte checked.

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use firstlight::{
    blade::Arch,
    images::{Images, ImportError, Kind},
};
use rstest::rstest;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

const KERNEL: &[u8] = b"a kernel";
const INITRD: &[u8] = b"an initrd with an installer in it";
const DISK: &[u8] = b"a disk image";

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// A bundle as `make images` writes it, and a data directory to import it into.
struct Bench {
    dir: TempDir,
}

impl Bench {
    fn new() -> Bench {
        let bench = Bench { dir: tempfile::tempdir().unwrap() };
        fs::create_dir_all(bench.bundle("live")).unwrap();
        fs::write(bench.bundle("live/vmlinuz"), KERNEL).unwrap();
        fs::write(bench.bundle("live/initrd.img"), INITRD).unwrap();
        fs::write(bench.bundle("disk.img"), DISK).unwrap();
        fs::write(bench.bundle("README"), "not listed, not taken").unwrap();
        fs::write(bench.bundle("bundle.toml"), manifest("debian-12", "12.11-1")).unwrap();
        bench
    }

    fn bundle(&self, name: &str) -> PathBuf {
        self.dir.path().join("bundle").join(name)
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn store(&self) -> Images {
        Images::open(&self.data()).unwrap()
    }

    fn edit_manifest(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.bundle("bundle.toml")).unwrap();
        assert!(text.contains(from), "{from} is not in {text}");
        fs::write(self.bundle("bundle.toml"), text.replacen(from, to, 1)).unwrap();
    }

    fn tar(&self, options: &[&str], members: &[&str]) -> PathBuf {
        let archive = self.dir.path().join("bundle.tar");
        let tar = std::process::Command::new("tar")
            .args(["--format=ustar", "-cf"])
            .arg(&archive)
            .args(options)
            .arg("-C")
            .arg(self.bundle(""))
            .args(members)
            .status()
            .unwrap();
        assert!(tar.success());
        archive
    }

    /// Every file and directory under `data/images`, but the lock.
    fn stored(&self) -> Vec<String> {
        fn walk(dir: &Path, found: &mut Vec<String>) {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, found);
                }
                found.push(path.display().to_string());
            }
        }
        let root = self.data().join("images");
        let mut found = Vec::new();
        walk(&root, &mut found);
        let mut found: Vec<String> = found
            .iter()
            .map(|path| path.trim_start_matches(&*root.to_string_lossy()).to_owned())
            .filter(|path| path != "/lock")
            .collect();
        found.sort();
        found
    }
}

fn manifest(name: &str, version: &str) -> String {
    let mut text = format!(
        "[bundle]\nname = \"{name}\"\nversion = \"{version}\"\nos = \"debian\"\nos_version = \"12\"\n\
         created = \"2026-11-20T00:00:00Z\"\n"
    );
    for (path, kind, bytes) in [
        ("live/vmlinuz", "kernel", KERNEL),
        ("live/initrd.img", "initrd", INITRD),
        ("disk.img", "image", DISK),
    ] {
        text += &format!(
            "[[artifact]]\npath = \"{path}\"\nkind = \"{kind}\"\narch = \"amd64\"\nsize = {}\nsha256 = \"{}\"\n",
            bytes.len(),
            sha256(bytes)
        );
    }
    text + "compression = \"none\"\nroot_partition = 3\nmin_ram_mb = 384\n"
}

fn import(store: &Images, from: &Path) -> Result<firstlight::images::Imported, ImportError> {
    store.import(from, &mut |_, _| ())
}

#[test]
fn an_imported_image_is_served_byte_for_byte_and_survives_a_restart() {
    let bench = Bench::new();
    let store = bench.store();
    assert!(store.list().is_empty() && store.only().is_none());
    let mut told = Vec::new();
    let imported = store.import(&bench.bundle(""), &mut |done, total| told.push((done, total)));
    let imported = imported.unwrap();
    let total = (KERNEL.len() + INITRD.len() + DISK.len()) as u64;
    assert_eq!((imported.bytes, imported.replaced), (total, None));
    assert_eq!((told.first(), told.last()), (Some(&(0, total)), Some(&(total, total))));
    assert!(told.is_sorted());

    for store in [store, bench.store()] {
        let set = store.get("debian-12").unwrap();
        assert_eq!(store.only(), Some(set.clone()));
        assert!(set.missing(Arch::Amd64).is_empty());
        for (kind, bytes) in [(Kind::Kernel, KERNEL), (Kind::Initrd, INITRD), (Kind::Image, DISK)] {
            let artifact = set.artifact(kind, Arch::Amd64).unwrap();
            assert_eq!(store.open_blob(&artifact.sha256).unwrap(), bytes);
            let mode =
                fs::metadata(store.blob_path(&artifact.sha256)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o444, "a blob is never written");
        }
        assert_eq!(store.verify(true).unwrap(), []);
    }
}

#[test]
fn a_plain_tar_is_taken_as_well() {
    for (options, members) in [
        (&[][..], &["."][..]),
        (&[], &["live/vmlinuz", "live/initrd.img", "disk.img", "bundle.toml"]),
        (&["--transform", "s,^,debian-12/,"], &["live", "disk.img", "bundle.toml"]),
    ] {
        let bench = Bench::new();
        let imported = import(&bench.store(), &bench.tar(options, members)).unwrap();
        assert_eq!(imported.set.name, "debian-12");
        assert_eq!(bench.store().verify(true).unwrap(), []);
    }
}

type Spoil = fn(&Bench);

/// Each way to spoil a bundle, and what the refusal says: the file, and what to do.
#[rstest]
#[case::a_flipped_byte(|b: &Bench| fs::write(b.bundle("live/vmlinuz"), b"a kernem").unwrap(),
    &["live/vmlinuz: its bytes are not those", "copy or build the bundle again"])]
#[case::a_short_file(|b: &Bench| fs::write(b.bundle("disk.img"), b"a disk").unwrap(),
    &["disk.img: is short: 6 bytes, bundle.toml says 12"])]
#[case::an_extra_long_file(|b: &Bench| fs::write(b.bundle("disk.img"), b"a disk image+").unwrap(),
    &["disk.img: is longer than the 12 bytes"])]
#[case::a_missing_file(|b: &Bench| fs::remove_file(b.bundle("disk.img")).unwrap(),
    &["disk.img: bundle.toml lists it, but it is not there"])]
#[case::a_path_with_dot_dot(|b: &Bench| b.edit_manifest("live/vmlinuz", "../outside"),
    &["bundle.toml: artifact \"../outside\": leads out of the bundle"])]
#[case::an_absolute_path(|b: &Bench| b.edit_manifest("live/vmlinuz", "/etc/hostname"),
    &["artifact \"/etc/hostname\": is an absolute path"])]
#[case::a_path_listed_twice(|b: &Bench| b.edit_manifest("live/vmlinuz", "disk.img"),
    &["artifact \"disk.img\": is listed twice"])]
#[case::a_symbolic_link(|b: &Bench| {
    fs::rename(b.bundle("disk.img"), b.bundle("real")).unwrap();
    symlink("real", b.bundle("disk.img")).unwrap();
}, &["disk.img: is a symbolic link"])]
#[case::a_link_on_the_way(|b: &Bench| {
    fs::rename(b.bundle("live"), b.bundle("real")).unwrap();
    symlink("real", b.bundle("live")).unwrap();
}, &["live: is a symbolic link"])]
#[case::a_linked_manifest(|b: &Bench| {
    fs::rename(b.bundle("bundle.toml"), b.bundle("real")).unwrap();
    symlink("real", b.bundle("bundle.toml")).unwrap();
}, &["bundle.toml: is a symbolic link"])]
#[case::a_directory_for_a_file(|b: &Bench| {
    fs::remove_file(b.bundle("disk.img")).unwrap();
    fs::create_dir(b.bundle("disk.img")).unwrap();
}, &["disk.img: is no regular file"])]
#[case::a_fifo_for_a_file(|b: &Bench| {
    fs::remove_file(b.bundle("disk.img")).unwrap();
    nix::unistd::mkfifo(&b.bundle("disk.img"), nix::sys::stat::Mode::S_IRWXU).unwrap();
}, &["disk.img: is no regular file"])]
#[case::no_manifest(|b: &Bench| fs::remove_file(b.bundle("bundle.toml")).unwrap(),
    &["is neither a directory with a bundle.toml nor"])]
#[case::a_wrong_manifest(|b: &Bench| b.edit_manifest("[bundle]", "[bundel]"),
    &["bundle.toml: TOML parse error at line 1", "unknown field `bundel`"])]
#[case::an_unknown_kind(|b: &Bench| b.edit_manifest("\"initrd\"", "\"rootfs\""),
    &["unknown variant `rootfs`, expected one of `kernel`, `initrd`, `image`"])]
#[case::a_manifest_of_binary(|b: &Bench| fs::write(b.bundle("bundle.toml"), [0xff; 99]).unwrap(),
    &["bundle.toml: ", "UTF-8"])]
#[case::a_manifest_without_end(|b: &Bench| fs::write(b.bundle("bundle.toml"), vec![b'\n'; 2 << 20]).unwrap(),
    &["bundle.toml: has more than 1048576 bytes"])]
fn is_refused_and_nothing_is_half_imported(#[case] spoil: Spoil, #[case] told: &[&str]) {
    let bench = Bench::new();
    let store = bench.store();
    let before = bench.stored();
    spoil(&bench);
    let error = import(&store, &bench.bundle("")).unwrap_err().to_string();
    for told in told {
        assert!(error.contains(told), "{error}");
    }
    assert_eq!(bench.stored(), before, "something of it stayed");
    assert!(store.list().is_empty());
}

#[rstest]
#[case::that_leads_out(&["-P", "--transform", "s,^disk.img,../disk.img,"], "leads out of the bundle")]
#[case::with_an_absolute_path(&["-P", "--transform", "s,^disk.img,/disk.img,"], "leads out of the bundle")]
#[case::with_a_file_missing(&["--exclude", "disk.img"], "disk.img: bundle.toml lists it, but")]
fn a_tar_is_refused(#[case] options: &[&str], #[case] told: &str) {
    let bench = Bench::new();
    let archive = bench.tar(options, &["bundle.toml", "live", "disk.img"]);
    let store = bench.store();
    let before = bench.stored();
    let error = import(&store, &archive).unwrap_err().to_string();
    assert!(error.contains(told), "{error}");
    assert_eq!(bench.stored(), before);
}

#[test]
fn a_tar_with_a_link_or_a_file_twice_or_cut_off_is_refused() {
    let bench = Bench::new();
    let store = bench.store();
    let twice = bench.tar(&[], &["bundle.toml", "live", "disk.img", "disk.img"]);
    // GNU tar packs the second as a hard link to the first.
    assert!(matches!(
        import(&store, &twice).unwrap_err(),
        ImportError::NotAFile(_) | ImportError::Twice(_)
    ));
    let whole = fs::read(bench.tar(&[], &["bundle.toml", "live", "disk.img"])).unwrap();
    let cut = bench.dir.path().join("cut.tar");
    for length in [0, 100, 600, 2000, 3000, 4000] {
        fs::write(&cut, &whole[..length.min(whole.len())]).unwrap();
        import(&store, &cut).expect_err("a tar that was cut off");
    }
    fs::remove_file(bench.bundle("disk.img")).unwrap();
    symlink("live/vmlinuz", bench.bundle("disk.img")).unwrap();
    let link = bench.tar(&[], &["bundle.toml", "live", "disk.img"]);
    assert!(matches!(import(&store, &link).unwrap_err(), ImportError::Symlink(_)));
    assert!(store.list().is_empty());
}

#[test]
fn a_refused_bundle_leaves_the_image_of_that_name_as_it_was() {
    let bench = Bench::new();
    let store = bench.store();
    import(&store, &bench.bundle("")).unwrap();
    let before = bench.stored();
    fs::write(bench.bundle("bundle.toml"), manifest("debian-12", "12.11-2")).unwrap();
    fs::write(bench.bundle("live/initrd.img"), b"an initrd with an installer in iT").unwrap();
    import(&store, &bench.bundle("")).unwrap_err();
    assert_eq!(bench.stored(), before);
    assert_eq!(store.get("debian-12").unwrap().version, "12.11-1");
    assert_eq!(store.verify(true).unwrap(), []);
}

#[test]
fn a_new_version_replaces_the_image_and_gc_frees_what_it_no_longer_needs() {
    let bench = Bench::new();
    let store = bench.store();
    import(&store, &bench.bundle("")).unwrap();
    let old = store.open_blob(&sha256(DISK)).unwrap();

    let text = manifest("debian-12", "12.11-2").replace(&sha256(DISK), &sha256(b"a DISK image"));
    fs::write(bench.bundle("bundle.toml"), text).unwrap();
    fs::write(bench.bundle("disk.img"), b"a DISK image").unwrap();
    let imported = import(&store, &bench.bundle("")).unwrap();
    assert_eq!(imported.replaced.as_deref(), Some("12.11-1"));

    let problems = store.verify(true).unwrap();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(!problems[0].fatal && problems[0].file == store.blob_path(&sha256(DISK)));
    assert_eq!(store.open_blob(&sha256(DISK)).unwrap(), DISK, "a blade may be at it");
    assert_eq!(store.gc().unwrap(), DISK.len() as u64);
    assert_eq!(old, DISK, "what is being sent stays whole");
    let gone = store.open_blob(&sha256(DISK)).unwrap_err();
    assert_eq!(gone.kind(), io::ErrorKind::NotFound);
    assert_eq!(store.verify(true).unwrap(), []);
}

#[test]
fn what_a_killed_import_left_is_removed_at_the_next_open_but_not_under_a_running_one() {
    let bench = Bench::new();
    let store = bench.store();
    let clean = bench.stored();
    let left = bench.data().join("images/staging-dead");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("half"), "a ker").unwrap();

    // Another import runs: its staging directory is not ours to remove, and ours is refused.
    let lock = fs::File::open(bench.data().join("images/lock")).unwrap();
    lock.lock().unwrap();
    bench.store();
    assert!(left.exists());
    assert!(matches!(import(&store, &bench.bundle("")).unwrap_err(), ImportError::Busy));
    drop(lock);

    bench.store();
    assert_eq!(bench.stored(), clean);
}

#[test]
fn verify_names_each_file_that_is_missing_short_flipped_or_nobodys() {
    let bench = Bench::new();
    let store = bench.store();
    import(&store, &bench.bundle("")).unwrap();
    let blob = |bytes: &[u8]| store.blob_path(&sha256(bytes));
    let spoil = |bytes: &[u8], with: &[u8]| {
        fs::remove_file(blob(bytes)).unwrap();
        fs::write(blob(bytes), with).unwrap();
    };
    fs::remove_file(blob(KERNEL)).unwrap();
    spoil(INITRD, b"an ini");
    spoil(DISK, b"a disk imagE");
    fs::write(blob(b"stray"), "stray").unwrap();
    fs::write(bench.data().join("images/sets/odd.toml"), "[bundle]\n").unwrap();

    let told = |deep| {
        let problems = store.verify(deep).unwrap();
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    for (bytes, what) in [
        (KERNEL, "is missing (live/vmlinuz of debian-12); import it again"),
        (INITRD, "is short: 6 bytes of 33 (live/initrd.img of debian-12)"),
        (DISK, "was changed: its SHA-256 is"),
        (b"stray", "belongs to no image"),
    ] {
        let line = format!("{}: {what}", blob(bytes).display());
        assert!(told(true).contains(&line), "{}", told(true));
    }
    assert!(told(true).contains("sets/odd.toml: TOML parse error"), "{}", told(true));
    assert!(!told(false).contains("was changed"), "a quick look reads no bytes");
    assert!(store.get("debian-12").is_some(), "one bad manifest does not hide the others");

    let short = store.open_blob(&sha256(INITRD)).unwrap_err();
    assert_eq!(short.kind(), io::ErrorKind::InvalidData);
    assert!(short.to_string().contains("import the image again"), "{short}");
    fs::remove_file(bench.data().join("images/sets/odd.toml")).unwrap();
    import(&store, &bench.bundle("")).unwrap();
    assert!(store.verify(true).unwrap().iter().all(|p| !p.fatal), "an import mends it");
    assert_eq!(store.open_blob(&sha256(INITRD)).unwrap(), INITRD);
}

#[test]
fn an_image_imported_by_another_process_is_seen_after_reload() {
    let bench = Bench::new();
    let (daemon, command) = (bench.store(), bench.store());
    import(&command, &bench.bundle("")).unwrap();
    assert!(daemon.get("debian-12").is_none());
    daemon.reload().unwrap();
    assert!(daemon.get("debian-12").is_some());
}

#[test]
fn only_a_digest_finds_a_blob() {
    let bench = Bench::new();
    let store = bench.store();
    import(&store, &bench.bundle("")).unwrap();
    let digest = sha256(KERNEL);
    for name in ["", "..", "../../sets/debian-12.toml", &digest[1..], &digest.to_uppercase()] {
        assert_eq!(store.open_blob(name).unwrap_err().kind(), io::ErrorKind::NotFound, "{name}");
    }
}

#[test]
fn a_damaged_file_that_another_process_has_mended_is_served_after_reload() {
    let bench = Bench::new();
    let (daemon, command) = (bench.store(), bench.store());
    import(&command, &bench.bundle("")).unwrap();
    let path = bench.data().join("images/blobs/sha256").join(sha256(KERNEL));
    let damaged: Vec<u8> = KERNEL.iter().map(|byte| byte ^ 1).collect();
    fs::write(&path, &damaged).unwrap();
    daemon.reload().unwrap();
    assert_eq!(daemon.open_blob(&sha256(KERNEL)).unwrap(), damaged);
    import(&command, &bench.bundle("")).unwrap();
    daemon.reload().unwrap();
    assert_eq!(daemon.open_blob(&sha256(KERNEL)).unwrap(), KERNEL);
}
