//! `[[interface]]`: the devices to attach to.

use std::collections::BTreeMap;

use super::table::{Table, name};

/// `IFNAMSIZ` of the kernel, without its closing zero.
const MAX_NAME_BYTES: usize = 15;
/// How many devices one controller attaches to.
const MAX_INTERFACES: usize = 64;

/// `[[interface]]`: a device to attach to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// How to attach.
    pub mode: Mode,
    /// Whether the other end of a veth has an XDP program, as long as this one does: see [`Ground`](crate::desired::Ground).
    pub peer_has_xdp: bool,
    /// The line of the file that names it, for messages.
    pub line: usize,
}

/// How the program is attached to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// In the driver, or generically where the driver has no XDP.
    Auto,
    /// In the driver, or not at all.
    Native,
    /// Generically, in the stack.
    Skb,
}

const MODES: [(&str, Mode); 3] = [("auto", Mode::Auto), ("native", Mode::Native), ("skb", Mode::Skb)];

/// Reads every `[[interface]]`.
pub(super) fn read(root: &mut Table<'_, '_>) -> Vec<Interface> {
    let expected = "at least one [[interface]], each with a name";
    root.require("interface", expected);
    let tables = root.tables("interface", "an array of tables, each written [[interface]]", false);
    if tables.is_empty() && root.has("interface") {
        root.problem(root.line, "interface", format!("found none, expected {expected}"));
    }
    if let Some(table) = tables.get(MAX_INTERFACES) {
        root.problem(table.line, "interface", format!("found {}, expected at most {MAX_INTERFACES}", tables.len()));
    }
    let mut lines = BTreeMap::new();
    tables.into_iter().take(MAX_INTERFACES).filter_map(|table| read_one(table, &mut lines)).collect()
}

fn read_one(mut table: Table<'_, '_>, lines: &mut BTreeMap<String, usize>) -> Option<Interface> {
    let expected = "the name of a network device, as `ip link` shows it";
    table.require("name", expected);
    let found =
        table.get("name", &format!("{expected}, of at most {MAX_NAME_BYTES} bytes"), |value| match value.as_str() {
            Some(text) if text.len() > MAX_NAME_BYTES => Err(format!("{text:?}, {} bytes", text.len())),
            // What dev_valid_name() of the kernel refuses.
            Some(text) if text.is_empty() || text == "." || text == ".." || text.contains(invalid) => {
                Err(format!("{text:?}"))
            }
            Some(text) => Ok(text),
            None => Err(super::table::describe(value)),
        });
    if let Some(found) = found {
        if let Some(first) = lines.get(found.value) {
            let text = format!("found {:?}, which line {first} names too, expected every device once", found.value);
            table.problem(found.line, "name", text);
        } else {
            lines.insert(found.value.to_owned(), found.line);
        }
        table.rename(format!("interface.{}", name(found.value)));
    }
    let mode = table.choice("mode", &MODES).map_or(Mode::Auto, |found| found.value);
    let peer_has_xdp = table.boolean("peer_has_xdp").is_some_and(|found| found.value);
    table.finish();
    let found = found?;
    Some(Interface { name: found.value.to_owned(), mode, peer_has_xdp, line: found.line })
}

fn invalid(character: char) -> bool {
    character == '/' || character == ':' || character.is_whitespace() || character.is_control()
}
