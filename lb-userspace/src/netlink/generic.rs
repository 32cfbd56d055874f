//! Generic netlink: families found by name (genetlink.h, `struct genlmsghdr`).

use std::io;

use super::message::{Request, attributes, string_of, u32_of};
use super::socket::{Answer, Requests};

const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const CTRL_ATTR_MCAST_GROUPS: u16 = 7;
const CTRL_ATTR_MCAST_GRP_NAME: u16 = 1;
const CTRL_ATTR_MCAST_GRP_ID: u16 = 2;

const ENOENT: i32 = 2;

/// Length of `struct genlmsghdr`.
pub(crate) const HEADER_LENGTH: usize = 4;

/// The header of a command.
pub(crate) fn header(command: u8) -> [u8; HEADER_LENGTH] {
    [command, 1, 0, 0]
}

/// A family, as this kernel numbers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Family {
    /// The type of its messages.
    pub(crate) id: u16,
    /// Its multicast groups.
    pub(crate) groups: Vec<(String, u32)>,
}

impl Family {
    /// Looks a family up; `None` when this kernel has no such.
    pub(crate) fn find(requests: &mut Requests, name: &str) -> io::Result<Option<Self>> {
        let name = [name.as_bytes(), b"\0"].concat();
        let request = Request::get(GENL_ID_CTRL, &header(CTRL_CMD_GETFAMILY)).attribute(CTRL_ATTR_FAMILY_NAME, &name);
        match requests.ask_one(request)? {
            Answer::Message(payload) => Ok(parse(&payload)),
            Answer::Refused(ENOENT) | Answer::Acknowledged => Ok(None),
            Answer::Refused(number) => Err(io::Error::from_raw_os_error(number)),
        }
    }

    /// The number of a multicast group.
    pub(crate) fn group(&self, name: &str) -> Option<u32> {
        self.groups.iter().find_map(|(group, id)| (group == name).then_some(*id))
    }
}

fn parse(payload: &[u8]) -> Option<Family> {
    let mut id = None;
    let mut groups = Vec::new();
    for (kind, value) in attributes(payload, HEADER_LENGTH) {
        match kind {
            CTRL_ATTR_FAMILY_ID => id = value.try_into().ok().map(u16::from_ne_bytes),
            CTRL_ATTR_MCAST_GROUPS => {
                groups = attributes(value, 0).filter_map(|(_, group)| parse_group(group)).collect()
            }
            _ => {}
        }
    }
    Some(Family { id: id?, groups })
}

fn parse_group(group: &[u8]) -> Option<(String, u32)> {
    let (mut name, mut id) = (None, None);
    for (kind, value) in attributes(group, 0) {
        match kind {
            CTRL_ATTR_MCAST_GRP_NAME => name = string_of(value),
            CTRL_ATTR_MCAST_GRP_ID => id = u32_of(value),
            _ => {}
        }
    }
    Some((name?, id?))
}
