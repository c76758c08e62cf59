package scenes

func credentials() []Scene {
	const read = "sensitive-file-read/"
	return []Scene{
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
