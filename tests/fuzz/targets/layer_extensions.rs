//! Any bytes as a dependency descriptor after another.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sfu::wire::ext::dependency_descriptor;

fuzz_target!(|values: (&[u8], &[u8])| {
    let (first, second) = values;
    let structure = dependency_descriptor::read(first, None).and_then(|(_, structure)| structure);
    if let Some((frame, _)) = dependency_descriptor::read(second, structure.as_ref()) {
        let mut patched = second.to_vec();
        assert!(dependency_descriptor::patch(&mut patched, 7, 0, 0, 0));
        let (again, _) = dependency_descriptor::read(&patched, structure.as_ref()).expect("as before");
        assert_eq!((again.frame_number, again.references), (7, frame.references));
    }
});
