package scenes

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/seawall-security/seawall/tools/demo/stage"
)

// volume is one that lives as long as the container.
const volume = "type=tmpfs,src=tmpfs,dst=/data,options=rw:exec"

// tokenFolder is where the kubelet puts a service account's token.
const tokenFolder = "/var/run/secrets/kubernetes.io/serviceaccount"

func credentials() []Scene {
	const read = "sensitive-file-read/"
	const token = "serviceaccount-token-read/"
	return []Scene{
		{
			File: token + "positive-web-shell.jsonl", Note: "A script uploaded to a web shop reads the pod's service account token.", Keep: about("token"),
			Prepare: func(ctx context.Context, s *Set) error { return s.shopStep(ctx, "upload a script as a picture") },
			Play:    func(ctx context.Context, s *Set) error { return s.shopStep(ctx, "read the service account's token") },
		},
		{
			File: token + "positive-by-hand.jsonl", Note: "Somebody enters a container and looks at its service account token.", Keep: about("token"),
			Play: func(ctx context.Context, s *Set) error {
				s.use(s.stage.ContainerID())
				out, err := s.stage.Exec(ctx, "/bin/cat", tokenFolder+"/token")
				return errors.Join(err, expect(out, stage.Token))
			},
		},
		{
			File: token + "negative-entry-point.jsonl", Note: "A container's entry point, a shell script, reads the token that is meant for it.", Keep: about("token"),
			Prepare: func(context.Context, *Set) error {
				_, err := file("serviceaccount/token", stage.Token)
				return err
			},
			Play: play(box{
				mounts: []string{"type=bind,src=" + filepath.Join(workDir, "serviceaccount") + ",dst=" + tokenFolder + ",options=rbind:ro"},
				args:   sh("token=$(cat " + tokenFolder + "/token); echo ran"),
			}, "ran"),
		},
		{
			File: token + "negative-other-token.jsonl", Note: "Somebody enters a container and looks at a file that is called token.", Keep: about("token"),
			Play: func(ctx context.Context, s *Set) error {
				s.use(s.stage.ContainerID())
				out, err := s.stage.Exec(ctx, "/bin/sh", "-c", "echo 42 > /tmp/token && cat /tmp/token && rm /tmp/token")
				return errors.Join(err, expect(out, "42"))
			},
		},
		{
			File: read + "positive-cat.jsonl", Note: "cat reads /etc/shadow.", Keep: about("shadow"),
			Play: play(box{args: sh("cat /etc/shadow")}, "root:"),
		},
		{
			File: read + "positive-host-mount.jsonl", Note: "A container reads the shadow file of a root file system that is mounted into it.", Keep: about("shadow"),
			Play: play(box{
				mounts: []string{"type=bind,src=" + workDir + "/userland,dst=/host,options=rbind:ro"}, args: sh("cat /host/etc/shadow"),
			}, "root:"),
		},
		{
			File: read + "positive-refused.jsonl", Note: "A user without rights tries to read /etc/shadow.", Keep: about("shadow"),
			Play: play(box{args: sh("setpriv --reuid 33 --clear-groups cat /etc/shadow; echo ran")}, "denied"),
		},
		{
			File: read + "positive-named-su.jsonl", Note: "A dropped program that calls itself su reads /etc/shadow.", Keep: about("shadow"),
			Play: play(box{args: sh("cp /bin/cat /tmp/su && /tmp/su /etc/shadow")}, "root:"),
		},
		{
			File: read + "positive-named-su-on-volume.jsonl", Note: "The same from a volume, which is on no overlay.", Keep: about("shadow"),
			Play: play(box{mounts: []string{volume}, args: sh("cp /bin/cat /data/su && /data/su /etc/shadow")}, "root:"),
		},
		{
			File: read + "negative-su.jsonl", Note: "su checks an account.", Keep: about("shadow"),
			Play: play(box{args: []string{"/usr/bin/su", "--command", "echo ran", "root"}}, "ran"),
		},
		{
			File: read + "negative-busybox-passwd.jsonl", Note: "passwd of busybox changes a password, as on Alpine.", Keep: about("shadow"),
			Play: play(box{args: sh("ln -s /bin/busybox /usr/local/bin/passwd; printf 'Corr3ct-H0rse\\nCorr3ct-H0rse\\n' | /usr/local/bin/passwd nobody")}, "changed"),
		},
		{
			File: read + "negative-passwd.jsonl", Note: "A program reads /etc/passwd.", Unfiltered: true, Keep: about("passwd"),
			Play: play(box{args: sh("cat /etc/passwd")}, "root:"),
		},
	}
}
