//! A row of a table: what comes in, and what becomes of it.

use weir_tests::frame::{Frame, Transport};

/// What becomes of a frame.
#[derive(Debug, Clone)]
pub(crate) enum Fate {
    /// It goes on to the host as it came.
    Same,
    /// It ends here.
    Drop,
    /// It goes on to the host, rewritten.
    Stack(Frame),
    /// It is sent out of another device.
    Sent(Frame),
    /// It is sent back out of the device that it came in by.
    Back(Frame),
}

impl Fate {
    /// What comes out, where that is not what came in.
    pub(crate) fn output(&self) -> Option<&Frame> {
        match self {
            Self::Same | Self::Drop => None,
            Self::Stack(frame) | Self::Sent(frame) | Self::Back(frame) => Some(frame),
        }
    }

    fn output_mut(&mut self) -> Option<&mut Frame> {
        match self {
            Self::Same | Self::Drop => None,
            Self::Stack(frame) | Self::Sent(frame) | Self::Back(frame) => Some(frame),
        }
    }
}

/// A field whose value is Weir's to choose: what it chose is put into what is expected before that is built, with all its
/// checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Free {
    /// The source port of a UDP tunnel, one of RFC 6335's dynamic ports.
    TunnelPort,
    /// The flow label of a tunnel's IPv6 header (RFC 6438).
    TunnelLabel,
    /// The source port of a flow whose source is rewritten: none that is well known (RFC 6335 §6).
    SourcePort,
    /// The identification (RFC 6864).
    Identification,
}

/// A row.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub what: String,
    pub input: Frame,
    pub fate: Fate,
    /// The name under which it is counted, unless it is forwarded.
    pub refusal: Option<&'static str>,
    pub free: Vec<Free>,
}

impl Row {
    fn new(what: impl Into<String>, input: Frame, fate: Fate, refusal: Option<&'static str>) -> Self {
        Self { what: what.into(), input, fate, refusal, free: Vec::new() }
    }

    /// It is none of Weir's business.
    pub(crate) fn same(what: impl Into<String>, input: Frame, refusal: &'static str) -> Self {
        Self::new(what, input, Fate::Same, Some(refusal))
    }

    pub(crate) fn dropped(what: impl Into<String>, input: Frame, refusal: &'static str) -> Self {
        Self::new(what, input, Fate::Drop, Some(refusal))
    }

    pub(crate) fn stack(what: impl Into<String>, input: Frame, output: Frame) -> Self {
        Self::new(what, input, Fate::Stack(output), None)
    }

    /// It is sent on. What is Weir's to choose in a tunnel's header is free.
    pub(crate) fn sent(what: impl Into<String>, input: Frame, output: Frame) -> Self {
        let mut free = Vec::new();
        if output.inner.is_some() {
            if !output.is_v4() {
                free.push(Free::TunnelLabel);
            }
            if matches!(output.transport, Transport::Udp { .. }) {
                free.push(Free::TunnelPort);
            }
        }
        Self { free, ..Self::new(what, input, Fate::Sent(output), None) }
    }

    /// Its sender is told why it is not forwarded, or gets an answer.
    pub(crate) fn answered(what: impl Into<String>, input: Frame, output: Frame, refusal: &'static str) -> Self {
        Self { free: vec![Free::Identification], ..Self::new(what, input, Fate::Back(output), Some(refusal)) }
    }

    pub(crate) fn free(mut self, free: Free) -> Self {
        self.free.push(free);
        self
    }

    /// Takes over from the frame that came out what was Weir's to choose there. Whether it was chosen well is said here;
    /// everything else by the comparison that follows.
    pub(crate) fn adopt(&mut self, out: &[u8]) {
        let free = self.free.clone();
        let what = self.what.clone();
        let Some(frame) = self.fate.output_mut() else { return };
        let (l3, l4) = (frame.l3(), frame.l4());
        let word = |at: usize| out.get(at..at + 2).map_or(0, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
        for free in free {
            match free {
                Free::TunnelPort => {
                    frame.source.1 = word(l4);
                    assert!(frame.source.1 >= 0xc000, "{what}: a tunnel from port {}", frame.source.1);
                }
                Free::TunnelLabel => frame.label = u32::from(word(l3) & 0xf) << 16 | u32::from(word(l3 + 2)),
                Free::SourcePort => {
                    frame.source.1 = word(l4);
                    assert!(frame.source.1 >= 1024, "{what}: a flow from port {}", frame.source.1);
                }
                Free::Identification if frame.is_v4() => frame.id = word(l3 + 4).into(),
                Free::Identification => {
                    if frame.fragment != 0 {
                        frame.id = u32::from(word(l4 - 4)) << 16 | u32::from(word(l4 - 2));
                    }
                }
            }
        }
    }
}
