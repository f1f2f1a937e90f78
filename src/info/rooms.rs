//! The room that a restore needs, by place. The needs of places on one file system are added up.

use crate::info::show::size;
use crate::info::values::Values;
use std::collections::BTreeMap;

/// What goes into one place.
pub struct Room {
    /// OID and name; the data directory has none.
    pub tablespace: Option<(String, String)>,
    /// None where it is in the data directory, as in the original.
    pub place: Option<String>,
    pub bytes: u64,
    pub free: Option<u64>,
    /// That there is too little room.
    pub tight: Option<String>,
}

impl Room {
    /// For people.
    pub fn text(&self, directory: &str) -> String {
        let bytes = size(self.bytes);
        let free = self.free.map(|free| format!(" ({} free)", size(free))).unwrap_or_default();
        let place = match &self.place {
            Some(place) => format!("into {place}{free}"),
            None => format!("inside {directory}, as in the original"),
        };
        match &self.tablespace {
            Some((oid, name)) => format!("{name} ({oid}): {bytes} {place}"),
            None => format!("{bytes} {place}"),
        }
    }
}

/// The first place with too little room, where the data directory's needs come last.
pub fn tight(rooms: Vec<Room>) -> Option<String> {
    rooms.into_iter().rev().find_map(|room| room.tight)
}

/// The data directory first.
pub fn rooms(way: &Values, places: &Values, directory: &str) -> Vec<Room> {
    let mut needed: BTreeMap<String, u64> = BTreeMap::new();
    let mut tight = |device: Option<&str>, place: &str, bytes: u64, free: u64| {
        let needed = needed.entry(device.unwrap_or_default().to_owned()).or_default();
        *needed += bytes;
        (*needed > free).then(|| too_little(place, *needed, free))
    };
    let mut rooms = Vec::new();
    let mut left = way.number("database_bytes");
    for tablespace in way.all("tablespace") {
        let mut words = tablespace.splitn(3, ' ');
        let (Some(oid), Some(bytes), Some(name)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let bytes: u64 = bytes.parse().unwrap_or(0);
        let mut room = Room {
            tablespace: Some((oid.to_owned(), name.to_owned())),
            place: places.of_oid("tablespace_place", oid).map(str::to_owned),
            bytes,
            free: None,
            tight: None,
        };
        if let Some(place) = &room.place {
            left = left.saturating_sub(bytes);
            let free = places.of_oid("tablespace_free", oid).and_then(|free| free.parse().ok()).unwrap_or(0);
            room.tight = tight(places.of_oid("tablespace_device", oid), place, bytes, free);
            room.free = Some(free);
        }
        rooms.push(room);
    }
    let free = places.number("free");
    let tight = tight(places.get("device"), directory, left, free);
    let place = Some(directory.to_owned());
    rooms.insert(0, Room { tablespace: None, place, bytes: left, free: Some(free), tight });
    rooms
}

fn too_little(place: &str, needed: u64, free: u64) -> String {
    let (mut needs, mut has) = (size(needed), size(free));
    if needs == has {
        (needs, has) = (format!("{needed} B"), format!("{free} B"));
    }
    format!("not enough room in {place}: {needs} needed, {has} free")
}
