//! What a user reads when something is wrong.

use super::super::*;
use super::Place;

#[test]
fn unknown_names_are_refused_where_they_stand() {
    let place = Place::new()
        .file(
            "isobar.toml",
            "topic = \"x\"\nlake = \"/data\"\n[kafka]\ntopik = \"x\"\n[exports]\nx = 1\n[spark]\n[[log]]\n",
        )
        .file(".env", "ISOBAR__KAFKA__GROUPID=x\nSPARK_HOME=/opt\n")
        .variable("ISOBAR__POSTGRES__PASWORD", "hunter2")
        .variable("ISOBAR__KAFKA__TOPIC_FILE", "x")
        .set("kafka.brokers", "x");
    let sections = "time, lake, hdfs, export, openweather, kafka, postgres, hbase, queries, query, sql, run, land, produce, \
                    consume, schedule, serve, log";
    let expect = [
        "flag --set: unknown key \"kafka.brokers\"; there are kafka.bootstrap_servers, kafka.topic, kafka.group_id, \
         kafka.security_protocol, kafka.root_certificate, kafka.client_certificate, kafka.client_key, \
         kafka.client_key_password, kafka.sasl_mechanism, kafka.sasl_username, kafka.sasl_password",
        "variable ISOBAR__KAFKA__TOPIC_FILE: unknown variable; did you mean \"ISOBAR__KAFKA__TOPIC\"?",
        "variable ISOBAR__POSTGRES__PASWORD: unknown variable; did you mean \"ISOBAR__POSTGRES__PASSWORD\"?",
        ".env: ISOBAR__KAFKA__GROUPID: unknown variable; did you mean \"ISOBAR__KAFKA__GROUP_ID\"?",
        "isobar.toml:1: unknown key \"topic\"; did you mean \"kafka.topic\"?",
        "isobar.toml:2: \"lake\" is a section, to be written [lake] and once",
        "isobar.toml:4: unknown key \"kafka.topik\"; did you mean \"kafka.topic\"?",
        "isobar.toml:5: unknown section [exports]; did you mean \"export\"?",
        &format!("isobar.toml:7: unknown section [spark]; there are {sections}"),
        "isobar.toml:8: \"log\" is a section, to be written [log] and once",
    ];
    assert_eq!(place.refused(), expect.join("\n"));
}

#[test]
fn wrong_values_are_refused_with_an_example() {
    let place = Place::new()
        .file(
            "isobar.toml",
            "[postgres]\nport = \"5432\"\nhost = \"\"\n\
             [kafka]\nbootstrap_servers = \"localhost:9092\"\n\
             [openweather]\ncities = []\ninterval = 600\nunits = \"metrics\"\n\
             [run]\nonly_today = 1\n[land]\nbytes_max = \"256\"\nrows_max = -1\n\
             [lake]\nurl.host = \"x\"\n",
        )
        .file(".env", "CITY=Paris;;Lyon\nHBASE_ENABLED=maybe\n")
        .variable("ISOBAR__TIME__ZONE", "Europe/Pariss")
        .variable("BOOTSTRAP_SERVERS", "kafka")
        .set("serve.http_listen", "localhost:9464");
    let expect = [
        "flag --set: serve.http_listen = \"localhost:9464\": expected an IP address with a port, such as \
         127.0.0.1:9464",
        "variable ISOBAR__TIME__ZONE: time.zone = \"Europe/Pariss\": expected the name of an IANA time zone, such as \
         Europe/Paris; did you mean \"Europe/Paris\"?",
        "variable BOOTSTRAP_SERVERS: kafka.bootstrap_servers = \"kafka\": expected one or more host:port separated by \
         `,`, such as localhost:9092",
        ".env: CITY: openweather.cities = \"Paris;;Lyon\": expected one or more names separated by `;`, such as Paris",
        ".env: HBASE_ENABLED: hbase.enabled = \"maybe\": expected true or false, such as false",
        "isobar.toml:2: postgres.port = \"5432\": expected a whole number from 1 to 65535, such as 5432",
        "isobar.toml:3: postgres.host = \"\": expected a string that is not blank, such as \"localhost\"",
        "isobar.toml:8: openweather.interval = 600: expected a duration from 1ms to 365days, such as \"10m\"",
        "isobar.toml:9: openweather.units = \"metrics\": expected one of standard, metric, imperial, such as \
         \"metric\"; did you mean \"metric\"?",
        "isobar.toml:11: run.only_today = 1: expected true or false, such as true",
        "isobar.toml:13: land.bytes_max = \"256\": expected a size above zero with its unit (B, KiB, MiB, GiB, kB, \
         MB, GB), such as \"256MiB\"",
        "isobar.toml:14: land.rows_max = -1: expected a whole number from 1 to 4294967295, such as 500000",
    ];
    let refused = place.refused();
    let refused: Vec<&str> = refused.lines().collect();
    assert_eq!(refused[..expect.len()], expect);
    assert!(
        refused[expect.len()].starts_with("isobar.toml:16: lake.url = "),
        "{refused:?}"
    );
    let place = Place::new().file("isobar.toml", "[openweather]\ncities = []\n");
    assert_eq!(
        place.refused(),
        "isobar.toml:2: openweather.cities = []: expected a list of one or more names, such as [\"Paris\"]"
    );
}

#[test]
fn what_is_not_toml_is_refused_by_line_without_its_text() {
    let place = Place::new().file(
        "isobar.toml",
        "[postgres]\npassword = \"hunter2\nport = 1\n",
    );
    let refused = place.refused();
    assert!(refused.starts_with("isobar.toml:2:"), "{refused}");
    assert!(refused.contains("not TOML"), "{refused}");
    assert!(
        !format!("{refused} {:?}", load(&place.sources)).contains("hunter2"),
        "{refused}"
    );
    let place = Place::new().file("isobar.toml", "[log]\n[log]\n");
    assert!(
        place.refused().starts_with("isobar.toml:2:"),
        "{}",
        place.refused()
    );
}

#[test]
fn a_broken_line_of_dotenv_counts_when_the_variable_is_ours() {
    let place = Place::new().file(
        ".env",
        "FOREIGN=${X:-y}\nCITY=${X}\nPOSTGRES_PASSWORD='hunter2\noops\n",
    );
    let expect = [
        ".env:2: `${…}` is not substituted here; write the value, or put it in single quotes to mean it literally",
        ".env:3: the quote that begins here is not closed",
        ".env:4: expected NAME=value",
    ];
    assert_eq!(place.refused(), expect.join("\n"));
}
