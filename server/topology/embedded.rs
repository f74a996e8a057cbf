//! The topologies that come with the program.

/// `install.sh` and `setup.sh` sit beside the topologies, so that an operator can read and
/// replace them the same way.
#[derive(rust_embed::RustEmbed)]
#[folder = "cloud-configs/"]
struct Shipped;

/// Every file of `cloud-configs/` as `(path below it, text)`, ordered by path. Pass these to
/// [`super::Catalogue::from_sources`] first and an operator's own after them.
pub fn embedded() -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = Shipped::iter()
        .filter_map(|path| {
            let bytes = Shipped::get(&path)?.data.into_owned();
            Some((path.into_owned(), String::from_utf8(bytes).ok()?))
        })
        .collect();
    files.sort();
    files
}
