// Package power cuts the power of real storage nodes at work: their processes are
// killed, and their disks forget, or keep torn, what was not fsynced. The disks
// are storage-node/vfs.Memory, mounted through FUSE, so it needs Linux and root
// and stands behind the build tag `power` (make power).
//
// Invariant: an acknowledged record of a durable topic is read afterwards, once,
// at the offset that its answer named, whichever nodes lost power, all of them at
// once included.
package power
