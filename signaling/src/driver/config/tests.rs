//! What files, environment and flags make of the settings.

use std::io::Write;

use serde_json::Value;

use super::*;

fn read(toml: &str, environment: &[(&str, &str)], overrides: &Overrides) -> Result<Config, SettingsError> {
    let mut file = tempfile::Builder::new()
        .suffix(".toml")
        .tempfile()
        .expect("a file");
    file.write_all(toml.as_bytes()).expect("written");
    let source: config::Map<String, String> = environment
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    let environment = config::Environment::with_prefix("DIEMCAU")
        .prefix_separator("__")
        .separator("__")
        .try_parsing(true)
        .list_separator(",")
        .with_list_parse_key("http.origins")
        .source(Some(source));
    Config::read(Some(file.path()), environment, overrides)
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let toml = "[http]\nlisten = '127.0.0.1:1'\n[media]\nport = 5\n[[rooms]]\nid = 'giao-ban'\n";
    let read_all = |environment: &[(&str, &str)], overrides: &Overrides| {
        read(toml, environment, overrides).expect("good settings")
    };
    let none = Overrides::default();
    assert_eq!(read_all(&[], &none).http.listen.port(), 1);
    let environment = [
        ("DIEMCAU__HTTP__LISTEN", "127.0.0.1:2"),
        ("DIEMCAU__HTTP__ORIGINS", "https://a,https://b"),
    ];
    let by_environment = read_all(&environment, &none);
    assert_eq!(
        (
            by_environment.http.listen.port(),
            by_environment.http.origins.len()
        ),
        (2, 2)
    );
    let flags = Overrides {
        listen: "127.0.0.1:0".parse().ok(),
        ..none
    };
    let by_flags = read_all(&environment, &flags);
    assert_eq!(
        (by_flags.http.listen.port(), by_flags.media.port),
        (0, 5),
        "a port that is set stays"
    );
    let rooms: Vec<_> = by_flags
        .rooms
        .iter()
        .map(|room| (room.id.as_str(), room.title.as_str()))
        .collect();
    assert_eq!(rooms, [("giao-ban", "giao-ban"), ("demo", "Phòng thử")]);
}

#[test]
fn a_free_http_port_asks_for_free_ports_everywhere() {
    let config = read("[http]\nlisten = '127.0.0.1:0'\n", &[], &Overrides::default()).expect("good settings");
    assert_eq!(
        (config.media.port, config.metrics.listen.map(|l| l.port())),
        (0, Some(0))
    );
    assert!(config.media.loopback);
}

#[test]
fn unknown_keys_and_bad_values_refuse_to_start() {
    for bad in [
        "listen = 'x'",
        "[http]\nport = 1",
        "[media]\nprot = 1",
        "[log]\nlevel = 'x'",
        "[[rooms]]\nid = 'UPPER'",
        "[[rooms]]\nid = 'a'\npoints_max = 0",
        "[[rooms]]\nid = 'a'\n[[rooms]]\nid = 'a'",
        "[[rooms]]\nid = 'a'\nvideo = ['vp7']",
        "[[rooms]]\nid = 'a'\nvideo = []",
        "[[rooms]]\nid = 'a'\nvideo = ['vp8', 'vp8']",
        "[[rooms]]\nid = 'a'\nvideo = 'vp8'",
        "[topology]\nsites = 'a'",
        "[http]\ncertificate = 'a'",
        "[[rooms]]\nid = 'a'\nname = 'b'",
        "rooms = 3",
        "data = [1]",
    ] {
        assert!(read(bad, &[], &Overrides::default()).is_err(), "{bad}");
    }
    let typo = [("DIEMCAU__HTTP__LISTN", "127.0.0.1:2")];
    assert!(read("", &typo, &Overrides::default()).is_err());
}

#[test]
fn origins_are_written_as_browsers_write_them() {
    for good in [
        "https://hop.tinh.vn",
        "http://10.0.0.5:8080",
        "https://[2001:db8::5]:8443",
        "https://[2001:db8::443]",
        "https://hop.tinh.vn:80",
        "http://hop.tinh.vn:443",
    ] {
        assert!(is_origin(good), "{good}");
    }
    for bad in [
        "https://hop.tinh.vn/",
        "https://hop.tinh.vn/p",
        "https://hop.tinh.vn?a",
        "https://Hop.tinh.vn",
        "HTTPS://hop.tinh.vn",
        "https://a@hop.tinh.vn",
        "https://hop.tinh.vn:",
        "https://hop.tinh.vn:443",
        "https://[2001:db8::5]:443",
        "http://hop.tinh.vn:80",
        "hop.tinh.vn",
        "//hop.tinh.vn",
        "*",
        "",
    ] {
        assert!(!is_origin(bad), "{bad}");
    }
    let toml = "[http]\npublic_url = 'https://hop.tinh.vn/'\n";
    let read = read(toml, &[], &Overrides::default()).expect("good settings");
    assert_eq!(read.http.public_url.as_deref(), Some("https://hop.tinh.vn"));
    assert!(is_host_alone("https://hop.tinh.vn:443"), "a link may name it");
}

#[test]
fn a_node_takes_all_rooms_or_none_is_opened() {
    let rooms = |max: u32, demo: bool| {
        let toml =
            format!("demo = {demo}\n[media]\nrooms_max = {max}\n[[rooms]]\nid = 'a'\n[[rooms]]\nid = 'b'\n");
        let config = read(&toml, &[], &Overrides::default());
        config
            .map(|config| config.rooms.len())
            .map_err(|error| error.to_string())
    };
    assert_eq!((rooms(3, true), rooms(2, false)), (Ok(3), Ok(2)));
    let told = rooms(2, true).expect_err("demo is one too many");
    assert!(
        told.contains("media.rooms_max is 2, but there are 3 rooms"),
        "{told}"
    );
}

#[test]
fn a_room_names_its_codecs_and_a_wrong_one_is_named() {
    let read = |video: &str| {
        let toml = format!("[[rooms]]\nid = 'a'\n{video}");
        read(&toml, &[], &Overrides::default()).map(|config| config.rooms[0].video.clone())
    };
    assert_eq!(read("").expect("good settings"), [VideoCodec::Vp8]);
    let several = read("video = ['av1', 'vp9', 'h264']").expect("good settings");
    assert_eq!(several, [VideoCodec::Av1, VideoCodec::Vp9, VideoCodec::H264]);
    let told = |video: &str| {
        let error = read(video).expect_err("refused");
        let source = std::error::Error::source(&error).map(ToString::to_string);
        format!("{error}: {}", source.unwrap_or_default())
    };
    let unknown = told("video = ['vp7']");
    assert!(unknown.contains("vp7") && unknown.contains("h264"), "{unknown}");
    assert!(told("video = ['vp9', 'vp9']").contains("room a: video names"));
}

/// Settings as the tables and values of a file; none for those that have no value.
fn values(of: &impl Serialize) -> serde_json::Map<String, Value> {
    match serde_json::to_value(of).expect("JSON") {
        Value::Object(values) => values,
        other => panic!("{other}"),
    }
}

/// Each key of two tables with what both say of it.
fn compare(
    place: &str,
    defaults: &serde_json::Map<String, Value>,
    shown: &serde_json::Map<String, Value>,
    wrong: &mut Vec<String>,
) {
    let keys: BTreeSet<&String> = defaults.keys().chain(shown.keys()).collect();
    for key in keys {
        let place = format!("{place}{key}");
        match (defaults.get(key), shown.get(key)) {
            (Some(Value::Object(defaults)), Some(Value::Object(shown))) => {
                compare(&format!("{place}."), defaults, shown, wrong);
            }
            // What has no value of its own is shown with one that somebody might give it.
            (Some(Value::Null), Some(_)) => {}
            (default, shown) if default == shown => {}
            (default, shown) => wrong.push(format!("{place} is {default:?}, shown {shown:?}")),
        }
    }
}

#[test]
fn the_example_file_shows_every_key_with_its_default() {
    let text = include_str!("../../../../deploy/config.example.toml");
    let is_setting = |line: &str| {
        line.starts_with('[')
            || line
                .split_once(" = ")
                .is_some_and(|(key, _)| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
    };
    // Every setting switched on; all else in the file is words.
    let mut on = String::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let line = line
            .strip_prefix("# ")
            .expect("the file as it is changes nothing");
        if is_setting(line) {
            on.push_str(line);
            on.push('\n');
        }
    }
    // No key of it is unknown.
    read(&on, &[], &Overrides::default()).unwrap_or_else(|e| panic!("{e}\n{on}"));
    let shown = config::Config::builder()
        .add_source(config::File::from_str(&on, config::FileFormat::Toml))
        .build()
        .and_then(config::Config::try_deserialize::<serde_json::Map<String, Value>>);
    let mut shown = shown.expect("tables");
    let mut defaults = values(&read("", &[], &Overrides::default()).expect("defaults"));
    let mut wrong = Vec::new();
    // Nothing is there of rooms but demo: the one shown is compared with one of which nothing was said but what every room has of its own.
    let rooms = shown.remove("rooms").expect("a room");
    defaults.remove("rooms").expect("demo");
    let [Value::Object(room)] = &rooms.as_array().expect("a list")[..] else {
        panic!("{rooms}")
    };
    let own = Value::from_iter(["id", "title"].map(|key| (key, room[key].clone())));
    let plain: RoomConfig = serde_json::from_value(own).expect("a room");
    compare("rooms.", &values(&plain), room, &mut wrong);
    compare("", &defaults, &shown, &mut wrong);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
