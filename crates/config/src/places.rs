//! Where the lake and the export files lie: reading the addresses, and keeping the two apart.

use std::path::{Component, Path, PathBuf};

use url::{Position, Url};

use super::error::{PlaceFault, Placed, Problem, Relation};
use super::keys::{Fallback, Key};
use super::origin::Origin;
use super::value::Value;
use super::values::{Entry, Values};

const LAKE: &str = "lake.url";
const BASE: &str = "export.base_path";
const HDFS: &str = "hdfs.url";

/// The NameNode's RPC port where none is written.
const RPC_PORT: u16 = 8020;

/// Replaces the texts of both places by their full addresses.
pub(crate) fn resolve(values: &mut Values, directory: &Path) -> Result<(), Problem> {
    let lake = resolve_lake(values, directory)?;
    let base = resolve_with(values, BASE, |text| on_store_of(&lake, text, directory))?;
    if let Some(relation) = lake.relation(&base) {
        let placed = |key| Box::new(placed(values, key));
        return Err(Problem::Overlap {
            lake: placed(LAKE),
            base: placed(BASE),
            relation,
        });
    }
    Ok(())
}

fn resolve_lake(values: &mut Values, directory: &Path) -> Result<Place, Problem> {
    if let (
        Origin::Default,
        Entry {
            value: Some(Value::Url(hdfs)),
            origin,
        },
    ) = (&values.entry(LAKE).origin, values.entry(HDFS))
    {
        let lake = default_lake_on(hdfs);
        let origin = Origin::Implied {
            by: HDFS,
            origin: Box::new(origin.clone()),
        };
        *values.entry_mut(LAKE) = Entry {
            value: Some(Value::Url(lake.to_url())),
            origin,
        };
        return Ok(lake);
    }
    resolve_with(values, LAKE, |text| Place::parse(text, directory))
}

fn resolve_with(
    values: &mut Values,
    key: &'static str,
    read: impl FnOnce(&str) -> Result<Place, PlaceFault>,
) -> Result<Place, Problem> {
    let Entry {
        value: Some(Value::Text(text)),
        origin,
    } = values.entry(key)
    else {
        unreachable!("{key} is a text that was checked before")
    };
    let place = read(text).map_err(|fault| Problem::WrongPlace {
        origin: origin.clone(),
        key,
        value: text.clone(),
        fault,
    })?;
    values.entry_mut(key).value = Some(Value::Url(place.to_url()));
    Ok(place)
}

fn placed(values: &Values, key: &'static str) -> Placed {
    let entry = values.entry(key);
    let value = entry
        .value
        .as_ref()
        .map(Value::to_string)
        .unwrap_or_default();
    Placed {
        key,
        value,
        origin: entry.origin.clone(),
    }
}

/// The default lake, on the NameNode that a WebHDFS or RPC address names.
fn default_lake_on(hdfs: &Url) -> Place {
    let Some(Fallback::Value(text)) = Key::named(LAKE).map(|key| key.fallback) else {
        unreachable!("the lake has a default")
    };
    let default = Place::parse(text, Path::new("/")).expect("the default lake is a place");
    let authority = match hdfs.scheme() {
        "hdfs" => hdfs[Position::BeforeHost..Position::AfterPort].to_owned(),
        _ => format!(
            "{}:{RPC_PORT}",
            &hdfs[Position::BeforeHost..Position::AfterHost]
        ),
    };
    Place {
        store: Store::Hdfs { authority },
        ..default
    }
}

/// Reads a place where a path means one on the lake's store.
fn on_store_of(lake: &Place, text: &str, directory: &Path) -> Result<Place, PlaceFault> {
    match &lake.store {
        Store::Hdfs { .. } if !is_address(text) => {
            let path = text
                .starts_with('/')
                .then(|| normal(Path::new(text)))
                .ok_or(PlaceFault::RelativeOnHdfs)?;
            Place::new(lake.store.clone(), path)
        }
        Store::Hdfs { .. } | Store::Local => Place::parse(text, directory),
    }
}

/// A directory on some store.
///
/// * Its path is absolute and holds no `.`, no `..`, no empty part and no percent-encoding.
/// * It is not the root.
/// * On HDFS it holds no colon.
#[derive(Debug, Clone)]
struct Place {
    store: Store,
    path: PathBuf,
}

#[derive(Debug, Clone)]
enum Store {
    Local,
    /// `host[:port]` as it was written; a name without a port may be one that Hadoop's files
    /// explain.
    Hdfs {
        authority: String,
    },
}

impl Place {
    fn new(store: Store, path: PathBuf) -> Result<Self, PlaceFault> {
        if path.parent().is_none() {
            return Err(PlaceFault::Root);
        }
        if matches!(store, Store::Hdfs { .. }) && path.to_string_lossy().contains(':') {
            return Err(PlaceFault::Colon);
        }
        Ok(Self { store, path })
    }

    /// Reads an address, or a local path relative to `directory`.
    fn parse(text: &str, directory: &Path) -> Result<Self, PlaceFault> {
        if !is_address(text) {
            return Self::new(Store::Local, normal(&directory.join(text)));
        }
        let url = Url::parse(text).map_err(|_| PlaceFault::NotAnAddress)?;
        let host = url.host_str().unwrap_or_default();
        if !url.username().is_empty()
            || url.password().is_some()
            || url.query().is_some()
            || url.fragment().is_some()
        {
            return Err(PlaceFault::MoreThanAPlace);
        }
        let store = match (url.scheme(), host) {
            ("file", "") => Store::Local,
            ("file", host) => {
                return Err(PlaceFault::FileHost {
                    host: host.to_owned(),
                });
            }
            ("hdfs", host) if !host.is_empty() && url.port() != Some(0) => Store::Hdfs {
                authority: url[Position::BeforeHost..Position::AfterPort].to_owned(),
            },
            _ => return Err(PlaceFault::NotAnAddress),
        };
        let path = decoded(url.path()).ok_or(PlaceFault::NotAnAddress)?;
        Self::new(store, normal(&path))
    }

    fn to_url(&self) -> Url {
        let local = Url::from_file_path(&self.path).expect("the path of a place is absolute");
        match &self.store {
            Store::Local => local,
            Store::Hdfs { authority } => {
                let address = format!("hdfs://{authority}{}", local.path());
                Url::parse(&address)
                    .expect("an authority that was parsed before a path that a URL holds")
            }
        }
    }

    /// How this place and a base path overlap, if they do.
    fn relation(&self, base: &Self) -> Option<Relation> {
        if self.store.identity() != base.store.identity() {
            return None;
        }
        // `starts_with` compares whole components: `/a/bc` is not inside `/a/b`.
        match (
            base.path.starts_with(&self.path),
            self.path.starts_with(&base.path),
        ) {
            (true, true) => Some(Relation::Same),
            (true, false) => Some(Relation::LakeAround),
            (false, true) => Some(Relation::BaseAround),
            (false, false) => None,
        }
    }
}

impl Store {
    /// The same for two ways to write one store: host names know no case, and the port has a
    /// default.
    fn identity(&self) -> Option<String> {
        match self {
            Self::Local => None,
            Self::Hdfs { authority } => {
                let authority = authority.to_lowercase();
                let has_port = authority
                    .rsplit_once(':')
                    .is_some_and(|(_, port)| !port.ends_with(']'));
                Some(if has_port {
                    authority
                } else {
                    format!("{authority}:{RPC_PORT}")
                })
            }
        }
    }
}

/// Whether a text is `scheme:/…` rather than a path.
fn is_address(text: &str) -> bool {
    text.split_once(":/").is_some_and(|(scheme, _)| {
        !scheme.is_empty()
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    })
}

/// The path that a URL's path stands for. Both stores write theirs as file URLs do.
fn decoded(path: &str) -> Option<PathBuf> {
    Url::parse(&format!("file://{path}"))
        .ok()?
        .to_file_path()
        .ok()
}

/// The path from the root without `.`, `..` and empty parts. Links are not followed: a place may
/// not exist yet.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir => {
                normal.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<String, PlaceFault> {
        Place::parse(text, Path::new("/home/me")).map(|place| place.to_url().to_string())
    }

    #[test]
    fn places_are_read_and_normalised() {
        let check = |text: &str, url: &str| assert_eq!(parse(text), Ok(url.to_owned()), "{text}");
        check(
            "hdfs://namenode:8020/user/hdfs/isobar",
            "hdfs://namenode:8020/user/hdfs/isobar",
        );
        check(
            "HDFS://namenode/lake///a/./b/../c//",
            "hdfs://namenode/lake/a/c",
        );
        check("hdfs://[::1]:9000/lake", "hdfs://[::1]:9000/lake");
        check(
            "hdfs://namenode:8020/a%20b/%c3%a9/x/%2E%2E/z",
            "hdfs://namenode:8020/a%20b/%C3%A9/z",
        );
        check("file:///data/lake/", "file:///data/lake");
        check("file:/data/lake", "file:///data/lake");
        check("/data/../srv/lake/.", "file:///srv/lake");
        check("lake", "file:///home/me/lake");
        check("../you/lake", "file:///home/you/lake");
        check("100% sure?#1", "file:///home/me/100%25%20sure%3F%231");
    }

    #[test]
    fn what_is_no_place_is_refused() {
        let check = |text: &str, fault: PlaceFault| assert_eq!(parse(text), Err(fault), "{text}");
        for root in [
            "/",
            "//",
            "/a/..",
            "file:///",
            "hdfs://namenode:8020",
            "hdfs://namenode:8020/%2e/",
            "../..",
        ] {
            check(root, PlaceFault::Root);
        }
        for address in [
            "s3://bucket/lake",
            "hdfs:///lake",
            "hdfs:/lake",
            "hdfs://namenode:x/lake",
            "hdfs://n:0/lake",
        ] {
            check(address, PlaceFault::NotAnAddress);
        }
        check(
            "file://data/lake",
            PlaceFault::FileHost {
                host: "data".to_owned(),
            },
        );
        check("hdfs://me@namenode/lake", PlaceFault::MoreThanAPlace);
        check("hdfs://namenode/lake?x", PlaceFault::MoreThanAPlace);
        check("hdfs://namenode/a:b", PlaceFault::Colon);
    }

    #[test]
    fn a_base_path_is_read_on_the_store_of_the_lake() {
        let check = |lake: &str, text: &str, expect: Result<&str, PlaceFault>| {
            let directory = Path::new("/home/me");
            let lake = Place::parse(lake, directory).unwrap();
            let base = on_store_of(&lake, text, directory).map(|base| base.to_url().to_string());
            assert_eq!(base, expect.map(str::to_owned), "{lake:?} {text}");
        };
        let hdfs = "hdfs://namenode:8020/lake";
        check(
            hdfs,
            "/user/hdfs/weather/",
            Ok("hdfs://namenode:8020/user/hdfs/weather"),
        );
        check(hdfs, "hdfs://other/weather", Ok("hdfs://other/weather"));
        check(hdfs, "file:///data/weather", Ok("file:///data/weather"));
        check(hdfs, "weather", Err(PlaceFault::RelativeOnHdfs));
        check(hdfs, "/", Err(PlaceFault::Root));
        check(hdfs, "/a:b", Err(PlaceFault::Colon));
        check(
            "lake",
            "/user/hdfs/weather",
            Ok("file:///user/hdfs/weather"),
        );
        check("lake", "weather", Ok("file:///home/me/weather"));
        check(
            "lake",
            "hdfs://namenode/weather",
            Ok("hdfs://namenode/weather"),
        );
    }

    #[test]
    fn places_that_contain_each_other_are_found() {
        let check = |lake: &str, base: &str, expect: Option<Relation>| {
            let place = |text| Place::parse(text, Path::new("/home/me")).unwrap();
            assert_eq!(place(lake).relation(&place(base)), expect, "{lake} {base}");
        };
        let hdfs = "hdfs://namenode:8020/user/hdfs/weather";
        check(hdfs, "hdfs://namenode:8020/user/hdfs/weather2", None);
        check(
            hdfs,
            "hdfs://namenode:8020/user/hdfs/weather/x",
            Some(Relation::LakeAround),
        );
        check(
            hdfs,
            "hdfs://NameNode/user//hdfs/./weather/",
            Some(Relation::Same),
        );
        check(
            hdfs,
            "hdfs://namenode/user/hdfs/other/../weather%2Fx",
            Some(Relation::LakeAround),
        );
        check(hdfs, "hdfs://namenode/user", Some(Relation::BaseAround));
        check(hdfs, "hdfs://namenode:9000/user/hdfs/weather", None);
        check(hdfs, "hdfs://other:8020/user/hdfs/weather", None);
        check(hdfs, "/user/hdfs/weather", None);
        check(
            "hdfs://[::1]/a",
            "hdfs://[::1]:8020/a/b",
            Some(Relation::LakeAround),
        );
        check("lake", "/home/me/lake/weather", Some(Relation::LakeAround));
        check(
            "lake",
            "file:///home/me/weather/../lake",
            Some(Relation::Same),
        );
        check("lake", "lakes", None);
        check("a b/c", "file:///home/me/a%20b", Some(Relation::BaseAround));
    }

    #[test]
    fn the_name_node_of_another_address_holds_the_default_lake() {
        let check = |hdfs: &str, lake: &str| {
            assert_eq!(
                default_lake_on(&Url::parse(hdfs).unwrap())
                    .to_url()
                    .as_str(),
                lake,
                "{hdfs}"
            );
        };
        check("http://nn:9870", "hdfs://nn:8020/user/hdfs/isobar");
        check("https://nn/", "hdfs://nn:8020/user/hdfs/isobar");
        check("http://[::1]:9870", "hdfs://[::1]:8020/user/hdfs/isobar");
        check("hdfs://nn:9000", "hdfs://nn:9000/user/hdfs/isobar");
        check("hdfs://cluster", "hdfs://cluster/user/hdfs/isobar");
    }
}
