use proptest::prelude::*;
use serde_json::json;

use super::*;

const MAC: &str = "52:54:00:00:01:01";

#[test]
fn a_report_is_read_and_its_texts_are_made_harmless() {
    let body = json!({
        "arch": "amd64", "firmware": "uefi", "secure_boot": true, "model": " Power\u{1b}[31mEdge\n ",
        "serial": "x".repeat(500), "cpus": 32, "ram_mb": u64::MAX, "bmc": "present",
        "bmc_ip": "10.202.0.7", "new_key": [1],
        "nics": [{ "name": "eth0", "mac": MAC, "driver": "igb", "link": true, "speed": 1000 }],
        "disks": [{ "name": "sda", "size": 480_103_981_056_u64, "holds": "gpt: \u{202e}ext4" }],
    });
    let machine = Machine::read(body.to_string().as_bytes()).unwrap();
    assert_eq!(machine.model.as_str(), "Power[31mEdge");
    assert_eq!(machine.serial.as_str().len(), LONGEST);
    assert_eq!(machine.ram_mb, 1 << 53);
    assert_eq!(machine.bmc_ip, Some([10, 202, 0, 7].into()));
    for none in [r#"{"bmc_ip":""}"#, r#"{"bmc_ip":"0.0.0.0"}"#, r#"{"bmc_ip":"<b>"}"#] {
        assert_eq!(Machine::read(none.as_bytes()).unwrap().bmc_ip, None);
    }
    assert_eq!(machine.disks[0].holds.as_str(), "gpt: ext4");
    assert_eq!(machine.own_macs(MAC.parse().unwrap()), [MAC.parse().unwrap()]);
    let stored = serde_json::to_string(&machine).unwrap();
    assert_eq!(Machine::read(stored.as_bytes()).unwrap(), machine, "as kept in the database");
}

#[test]
fn what_is_no_report_is_refused_with_the_place() {
    for (body, told) in [
        ("", "EOF"),
        ("[]", "no JSON object"),
        (r#"{"cpus":-1}"#, "-1"),
        (r#"{"disks":7}"#, "a list of at most 128"),
        (r#"{"nics":[{"mac":"x"}]}"#, "MAC"),
        (r#"{"arch":"vax"}"#, "architecture"),
        (r#"{"firmware":"coreboot"}"#, "unknown variant"),
    ] {
        let error = Machine::read(body.as_bytes()).unwrap_err();
        assert!(error.contains("no report") && error.contains(told), "{body}: {error}");
    }
    let many = json!({ "disks": vec![json!({}); MOST + 1] });
    assert!(Machine::read(many.to_string().as_bytes()).unwrap_err().contains("more than 128"));
}

#[test]
fn a_serial_that_every_board_has_identifies_nothing() {
    for text in ["", "To Be Filled By O.E.M.", "Default string", "0", "00000000", "None", "xxxx"] {
        assert_eq!(Word::new(text).told(), None, "{text:?}");
    }
    assert_eq!(Word::new(" CN7792 ").told(), Some("CN7792"));
    let uuid = |text: &str| Machine { uuid: Word::new(text), ..Machine::default() }.told_uuid();
    assert_eq!(uuid("03000200-0400-0500-0006-000700080009"), None);
    assert_eq!(uuid("ffffffff-ffff-ffff-ffff-ffffffffffff"), None);
    assert_eq!(uuid("nonsense"), None);
    let real = "4c4c4544-0051-3710-8058-b8c04f514831";
    assert_eq!(uuid(&real.to_uppercase()).as_deref(), Some(real));
}

#[test]
fn a_bmcs_usb_card_is_not_taken_for_the_machines_own() {
    let nic = |mac: &str, driver: &str| Nic {
        name: Word::default(),
        mac: mac.parse().unwrap(),
        driver: Word::new(driver),
        link: None,
        speed: None,
    };
    let nics = vec![
        nic("52:54:00:00:01:02", "igb"),
        nic("be:ef:be:ef:be:ef", "cdc_ether"),
        nic(MAC, "igb"),
        nic("00:00:00:00:00:00", "igb"),
    ];
    let machine = Machine { nics, ..Machine::default() };
    let macs = machine.own_macs(MAC.parse().unwrap());
    assert_eq!(macs, [MAC.parse().unwrap(), "52:54:00:00:01:02".parse().unwrap()]);
}

/// JSON of about the right shape with wrong things in it.
fn almost() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,120}".prop_map(Value::from),
        Just(Value::from(MAC)),
    ];
    let key = prop_oneof![
        Just("serial"),
        Just("uuid"),
        Just("cpus"),
        Just("ram_mb"),
        Just("nics"),
        Just("disks"),
        Just("mac"),
        Just("name"),
        Just("size"),
        Just("lldp"),
        Just("lldp_frame"),
        Just("bmc"),
        Just("arch"),
        Just("link"),
        Just("speed"),
        Just("vlan"),
        Just("switch"),
    ];
    leaf.prop_recursive(4, 64, 8, move |inner| {
        let list = proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::from);
        let map = proptest::collection::vec((key.clone(), inner), 0..8).prop_map(|pairs| {
            Value::Object(pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
        });
        prop_oneof![list, map]
    })
}

proptest! {
    #[test]
    fn any_octets_are_read_without_harm(body in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Machine::read(&body);
    }

    #[test]
    fn any_json_is_refused_or_becomes_a_bounded_machine(value in almost()) {
        if let Ok(machine) = Machine::read(value.to_string().as_bytes()) {
            let words = machine.words();
            prop_assert!(words.chars().count() < 600 && !words.contains(char::is_control));
            let stored = serde_json::to_string(&machine).unwrap();
            prop_assert_eq!(Machine::read(stored.as_bytes()).unwrap(), machine);
        }
    }
}
