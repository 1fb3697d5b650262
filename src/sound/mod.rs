//! Sound: from microphone to packet and from packets to ear.
