#!/lab/busybox sh
# First program of the guest: loads modules, changes to the root file system on
# the disk if there is one, and hands over to run.sh.
b=/lab/busybox
for module in /lab/modules/*; do
	[ -e "$module" ] && { $b insmod "$module" || echo "lab: insmod $module failed"; }
done
[ -e /lab/disk ] || exec /lab/run.sh

$b mount -t devtmpfs dev /dev && $b mount -t ext4 /dev/vda /newroot || exit 1
$b cp -a /files/. /newroot/
cd /newroot && $b mkdir -p lab dev || exit 1
$b mount -t tmpfs lab lab && $b cp -a /lab/. lab/ || exit 1
cd / && $b umount /dev
exec $b switch_root /newroot /lab/run.sh
