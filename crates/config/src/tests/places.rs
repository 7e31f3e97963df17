//! Where the lake and the directories of the services are.

use super::{Place, check_shown};

#[test]
fn hdfs_url_gives_the_lake_its_name_node() {
    let place = Place::new().variable("HDFS_URL", "http://nn:9870");
    check_shown(
        &place,
        "lake.url",
        "\"hdfs://nn:8020/user/hdfs/isobar\"",
        "implied by hdfs.url, variable HDFS_URL",
    );
    check_shown(
        &place,
        "export.base_path",
        "\"hdfs://nn:8020/user/hdfs/weather\"",
        "default",
    );
    let place = place.file("isobar.toml", "lake.url = \"/data/lake\"");
    check_shown(&place, "lake.url", "\"file:///data/lake\"", "isobar.toml:1");
    check_shown(
        &place,
        "hdfs.url",
        "\"http://nn:9870\"",
        "variable HDFS_URL",
    );
}

#[test]
fn places_that_endanger_each_other_are_refused() {
    let place = Place::new().variable("HDFS_BASE_PATH", "/user/hdfs/isobar/../isobar/x/");
    assert_eq!(
        place.refused(),
        "lake.url = \"hdfs://namenode:8020/user/hdfs/isobar\" (default) and export.base_path = \
         \"hdfs://namenode:8020/user/hdfs/isobar/x\" (variable HDFS_BASE_PATH) overlap, the second inside the first: \
         tables and export files need directories of their own; set one of the two to a directory outside the other"
    );
    let place = Place::new()
        .set("lake.url", "data")
        .set("export.base_path", "data/");
    assert!(
        place
            .refused()
            .contains("are one directory: tables and export files"),
        "{}",
        place.refused()
    );
    let root = "the root is not a place for data; name a directory below it";
    let place = Place::new().variable("HDFS_BASE_PATH", "/");
    assert_eq!(
        place.refused(),
        format!("variable HDFS_BASE_PATH: export.base_path = \"/\": {root}")
    );
    let place = Place::new().file("isobar.toml", "[lake]\nurl = \"hdfs://namenode:8020//\"");
    assert_eq!(
        place.refused(),
        format!("isobar.toml:2: lake.url = \"hdfs://namenode:8020//\": {root}")
    );
}
