//! Statuses of machines: what people see.
//!
//! Owns the list of statuses, the word and the sentence of each, and what a person can do about it. Invariant: the list is
//! exhaustive; every machine has exactly one status at any time.
//!
//! Does not choose a status: that is `planner`.

use std::fmt;

macro_rules! statuses {
    ($( $(#[$doc:meta])* $status:ident = $word:literal, $sentence:literal, $advice:literal; )*) => {
        /// What a machine is doing, or why nothing is being done with it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Status { $( $(#[$doc])* $status, )* }

        impl Status {
            /// Every status.
            pub const ALL: &'static [Self] = &[ $( Self::$status, )* ];

            /// Returns the word used in tables, on the wire and in logs.
            pub const fn word(self) -> &'static str {
                match self { $( Self::$status => $word, )* }
            }

            /// Returns a sentence that says what the status means.
            pub const fn sentence(self) -> &'static str {
                match self { $( Self::$status => $sentence, )* }
            }

            /// Returns what a person can do about it; empty when there is nothing to do.
            pub const fn advice(self) -> &'static str {
                match self { $( Self::$status => $advice, )* }
            }
        }
    };
}

statuses! {
    /// Nothing is known yet.
    Unknown = "unknown", "nothing is known yet", "";
    /// The first connection is being tried.
    Connecting = "connecting", "connecting", "";
    /// The host name has no address.
    DnsError = "dns error", "the host name has no address",
        "correct Hostname in the machine database, give IpAddress, or repair DNS";
    /// Nobody answers at the address.
    Unreachable = "unreachable", "nobody answers at the address",
        "check that the machine is up, that subd runs, and that UDP reaches its port";
    /// The connection ended and is being tried again.
    Disconnected = "disconnected", "the connection was lost",
        "if it stays: check that subd runs on the machine";
    /// One side does not accept the certificate of the other.
    CertificateRefused = "certificate refused", "one side does not accept the certificate of the other",
        "issue a certificate of the same authority for this host name, or renew the one that expired";
    /// The peer does not speak the protocol, or breaks it.
    ProtocolError = "protocol error", "the peer breaks the protocol",
        "check that the address is that of subd, and that its version fits";
    /// The agent does not allow what the controller asks.
    Denied = "denied", "the agent denies the call",
        "issue the controller a certificate with the permission Machine.*";
    /// The agent fails to answer a poll.
    PollFailed = "poll failed", "the agent fails to report its state", "look at the log of subd on the machine";
    /// The machine database has no valid required image for the machine.
    ImageUndefined = "image undefined", "the machine database names no required image",
        "set RequiredImage in the machine database";
    /// The image server is being asked for the required image.
    LookingUp = "looking up image", "the image server is being asked for the required image", "";
    /// The image server has no image with the required name.
    ImageNotReady = "image not ready", "the image server does not have the required image",
        "publish the image, or correct RequiredImage";
    /// The image server does not answer, or refuses.
    ImageServerFailed = "image server failed", "the required image cannot be read from the image server",
        "check the image server, its address in the configuration, and the permissions Image.Get and Object.Get";
    /// Updates are disabled in the machine database.
    Disabled = "disabled", "updates are disabled in the machine database", "remove DisableUpdates to go on";
    /// The machine is missing in a new machine database that is held.
    Held = "held", "the machine is missing in a new machine database that is held as suspicious",
        "correct the machine database, or send the controller SIGHUP to accept it as it is";
    /// The agent has not completed its first scan.
    Scanning = "scanning", "the agent scans its root for the first time", "";
    /// The agent finishes or undoes an update that was cut short.
    Recovering = "recovering", "the agent recovers an update that was cut short", "";
    /// The agent is being told the required image.
    Requiring = "requiring", "the agent is being told the required image", "";
    /// The agent does not accept the required image.
    RequireFailed = "require failed", "the agent does not accept the required image",
        "look at the reason; the image or the machine's policy must change";
    /// The machine differs from the required image and is about to be corrected.
    Deviating = "deviating", "the machine differs from the required image", "";
    /// The agent fetches what it lacks.
    Fetching = "fetching", "the agent fetches what it lacks", "";
    /// The agent could not fetch what it lacks.
    FetchFailed = "fetch failed", "the agent could not fetch what it lacks",
        "check that the image server is reachable from the machine and that subd's certificate allows Object.Get";
    /// The agent has no space for what it lacks.
    NoSpace = "no space", "the agent has no space left", "make space on the machine, or choose a smaller image";
    /// The agent is being told to update.
    Ordering = "ordering", "the agent is being told to update", "";
    /// The agent becomes the required image.
    Updating = "updating", "the agent becomes the required image", "";
    /// The safety rules of the agent forbid the update.
    UpdateRefused = "update refused", "the agent refuses the update as unsafe",
        "look at the deviations; if they are wanted, set the tag DisableSafetyCheck in the machine database";
    /// The update failed.
    UpdateFailed = "update failed", "the update failed", "look at the reason and at the log of subd on the machine";
    /// The agent is busy with something else.
    Busy = "busy", "the agent is busy", "";
    /// The machine is what is required; the planned image is being fetched.
    PlannedFetching = "fetching planned", "converged; the agent fetches the planned image", "";
    /// The machine is exactly what is required.
    Converged = "converged", "the machine is exactly its required image", "";
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A status with its particulars.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The status.
    pub status: Status,
    /// Particulars of this case: a reason, a name, a count; may be empty.
    pub detail: String,
}

impl Report {
    /// Makes a report.
    pub fn new(status: Status, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into() }
    }

    /// Says whether the machine is exactly what is required.
    pub const fn is_converged(&self) -> bool {
        matches!(self.status, Status::Converged | Status::PlannedFetching)
    }
}

/// The sentence, the particulars and the advice.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.status.sentence())?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        match self.status.advice() {
            "" => Ok(()),
            advice => write!(f, " (to do: {advice})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn words_are_distinct_and_trouble_comes_with_advice() {
        let words: BTreeSet<_> = Status::ALL.iter().map(|status| status.word()).collect();
        assert_eq!(words.len(), Status::ALL.len());
        for status in Status::ALL {
            let word = status.word();
            let is_trouble =
                ["failed", "refused", "error", "denied", "not ready", "undefined", "unreachable", "no space"]
                    .iter()
                    .any(|trouble| word.contains(trouble));
            assert!(!is_trouble || !status.advice().is_empty(), "{word}");
            assert!(!status.sentence().ends_with('.'), "{word}");
        }
    }
}
