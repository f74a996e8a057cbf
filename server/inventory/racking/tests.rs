use super::*;
use crate::{
    config::Config,
    inventory::{Intent, Nic, SeenDisk, Word},
};

const CONFIG: &str =
    "site = \"s\"\n[boot]\ninterfaces = [\"br0\"]\n[[subnet]]\ncidr = \"10.12.0.0/16\"\n";
const RACK: &str = r#"
[[rack]]
name = "r1"
chassis = [{ name = "c1", slots = 4, ip_first = "10.12.1.1" }]
[[blade]]
name = "r1-c1-b01"
slot = { rack = "r1", chassis = "c1", slot = 1 }
macs = ["52:54:00:00:01:01"]
loader = "ipxe.efi"
disk = { serial = "OLD", min_size = "1G" }
"#;

fn document() -> Document {
    Document::parse(RACK).unwrap()
}

fn snapshot() -> Snapshot {
    let config = Config::parse(CONFIG).unwrap();
    Snapshot::build(&config, &document(), &|_, _| (Intent::Menu, None))
}

fn mac(n: u8) -> Mac {
    Mac([0x52, 0x54, 0, 0, 1, n])
}

fn nic(mac: Mac) -> Nic {
    Nic { name: Word::new("eth0"), mac, driver: Word::new("igb"), link: None, speed: None }
}

fn reported(n: u8) -> Reported {
    let machine = Machine {
        model: Word::new("PowerEdge M630"),
        serial: Word::new(&format!("CN{n}")),
        nics: vec![nic(mac(n)), nic(mac(n + 100))],
        disks: vec![SeenDisk { serial: Word::new("D1"), size: 1 << 40, ..SeenDisk::default() }],
        ..Machine::default()
    };
    Reported { mac: mac(n), ip: None, first_seen: 0, reported: 0, last_seen: 0, machine }
}

fn slot(n: u16) -> Option<Place> {
    Some(Place { rack: "r1".parse().unwrap(), chassis: "c1".parse().unwrap(), slot: n })
}

#[test]
fn a_machine_in_an_empty_slot_becomes_a_blade_with_what_was_learned() {
    let wish = Wish { slot: slot(3), disk: Some("D1".to_owned()), ..Wish::default() };
    let racked = rack(&reported(9), &[reported(9)], &document(), &wish).unwrap();
    assert_eq!(racked.blade.name.as_str(), "r1-c1-b03");
    assert_eq!(racked.blade.macs, [mac(9), mac(109)]);
    assert_eq!(racked.blade.model.as_deref(), Some("PowerEdge M630"));
    assert_eq!(racked.blade.disk.unwrap().words(), "serial=D1");
    assert_eq!(racked.replaced, None);
    let by_name = Wish { name: Some("alone".parse().unwrap()), ..Wish::default() };
    let racked = rack(&reported(9), &[], &document(), &by_name).unwrap();
    assert_eq!((racked.blade.name.as_str(), racked.blade.slot), ("alone", None));
    let error = rack(&reported(9), &[], &document(), &Wish::default()).unwrap_err();
    assert!(error.contains("slot or a name"), "{error}");
}

#[test]
fn a_taken_slot_is_given_only_to_who_takes_it_over_and_what_named_the_old_disk_is_dropped() {
    let wish = Wish { slot: slot(1), ..Wish::default() };
    let error = rack(&reported(9), &[], &document(), &wish).unwrap_err();
    assert!(error.contains("r1-c1-b01") && error.contains("take the slot over"), "{error}");
    let wish = Wish { take_over: true, ..wish };
    let racked = rack(&reported(9), &[], &document(), &wish).unwrap();
    assert_eq!(racked.blade.name.as_str(), "r1-c1-b01");
    assert_eq!(racked.blade.macs, [mac(9), mac(109)]);
    assert_eq!(racked.blade.loader.as_deref(), Some("ipxe.efi"), "what an operator wrote stays");
    assert_eq!(racked.blade.disk.unwrap().words(), "min_size=1073741824");
    assert!(racked.dropped[0].contains("serial=OLD"), "{:?}", racked.dropped);
    let renamed = Wish { name: Some("other".parse().unwrap()), ..wish };
    assert!(rack(&reported(9), &[], &document(), &renamed).unwrap_err().contains("keeps its name"));
}

#[test]
fn clones_and_known_cards_are_marked_and_their_addresses_left_out() {
    let mut one = reported(9);
    let mut clone = reported(10);
    clone.machine.serial = one.machine.serial.clone();
    one.machine.uuid = Word::new("4c4c4544-0051-3710-8058-b8c04f514831");
    let mut same = reported(11);
    same.machine.uuid = Word::new("4C4C4544-0051-3710-8058-B8C04F514831");
    one.machine.nics.push(nic(mac(1)));
    one.machine.nics.push(nic(mac(110)));
    let all = [one.clone(), clone, same];
    let words: Vec<String> = marks(&one, &all, &snapshot()).iter().map(Mark::words).collect();
    assert_eq!(
        words,
        [
            "its card 52:54:00:00:01:01 belongs to blade r1-c1-b01",
            "its serial CN9 is also that of 52:54:00:00:01:0a",
            "its card 52:54:00:00:01:6e is also in 52:54:00:00:01:0a",
            "its SMBIOS UUID 4c4c4544-0051-3710-8058-b8c04f514831 is also that of 52:54:00:00:01:0b",
        ]
    );
    let wish = Wish { slot: slot(2), ..Wish::default() };
    let racked = rack(&one, &all, &document(), &wish).unwrap();
    assert_eq!(racked.blade.macs, [mac(9), mac(109)]);
    assert_eq!(marks(&reported(9), &[reported(9)], &snapshot()), []);
}

#[test]
fn a_disk_that_is_not_there_or_cannot_be_told_is_refused() {
    let wish = |disk: &str| Wish { slot: slot(2), disk: Some(disk.to_owned()), ..Wish::default() };
    let error = rack(&reported(9), &[], &document(), &wish("D2")).unwrap_err();
    assert!(error.contains("no disk with serial or WWN"), "{error}");
    let mut blank = reported(9);
    blank.machine.disks[0].serial = Word::new("A B");
    let error = rack(&blank, &[], &document(), &wish("A B")).unwrap_err();
    assert!(error.contains("no serial or WWN to tell it by"), "{error}");
}
