// Package disk is a disk whose power can be cut: a block device with a volatile write
// cache, which a virtual machine reaches over the NBD protocol.
//
// What is written lies in the cache, and reads find it there, until the guest flushes:
// only then it is on the medium. A cut ends all answers at once, between two requests;
// [Disk.PowerOn] decides what of the cache had reached the medium by itself, as real
// disks write back when they like and in any order: nothing, all, some writes, or some
// sectors of some writes. A sector of 512 bytes is never torn.
//
// An ordinary image is no such disk: what the guest's kernel wrote without a flush is in
// the host's page cache and outlives the virtual machine.
//
// The medium belongs to the caller. Methods are safe for concurrent use.
package disk
