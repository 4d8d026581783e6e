//! What the rules of the format and of trust, once broken, mean to the user.

use crate::error::Error;
use crate::format::signature::TrustError;
use crate::format::{FormatError, names};

/// For `map_err`: a rule of the format that `file` breaks.
pub fn breaks(file: impl std::fmt::Display) -> impl FnOnce(FormatError) -> Error {
    move |rule| {
        let what = format!("{file}: {rule}");
        match rule {
            // An old format may lack what protects the new one: whoever offers it is not believed.
            FormatError::Version(_) => Error::untrusted(
                what,
                "use the version of ckvault that wrote the set, or recover.py beside it, if the sender confirms that it is that old",
            ),
            FormatError::Draft(_) => draft(what, names::RECOVER_PY),
            FormatError::Newer { .. } => Error::newer(what, "use a newer ckvault, or recover.py beside the set"),
            _ => Error::format(what, "the sender signed a set that breaks the format: ask for a new export"),
        }
    }
}

/// Of a set that a development version wrote, which nothing reads any more but the script that lies beside it.
pub fn draft(what: String, script: impl std::fmt::Display) -> Error {
    let hint = format!(
        "if the set may be that old, it is not lost: its own {script} restores it; check that script and run a copy of it as \
         READING A SET BY HAND in ckvault-format(5) says, then export the files anew"
    );
    Error::untrusted(what, hint)
}

impl From<TrustError> for Error {
    fn from(why: TrustError) -> Error {
        let hint = match why {
            TrustError::Unknown(_) => {
                "if you know this key, pass its .pub with --signers, or add it to allowed_signers"
            }
            TrustError::OtherSigner { .. } => {
                "if this signer may have packed the set, say so with --signer, or leave --signer out; else ask the sender"
            }
            TrustError::NamesNobody(_) => "say who must have signed, with --signer NAME",
            TrustError::Revoked(_) => "ask the sender for an export that is signed with a new key",
            TrustError::Unasked { .. } => {
                "see that ssh-keygen runs and that there is room for temporary files, then try again"
            }
            TrustError::Invalid | TrustError::Armour | TrustError::AfterArmour | TrustError::NotCanonical => {
                "bring another drive of the set, or ask the sender for a new export"
            }
            _ => "ask the sender, or whoever keeps your allowed_signers file",
        };
        Error::untrusted(why.to_string(), hint)
    }
}
