package scenes

func memory() []Scene {
	const transition = "mem-wx-transition/"
	const both = "mem-rwx-mapping/"
	// Enough rounds for LuaJIT to compile the loop.
	loop := []string{"/usr/bin/luajit", "-e", "local n = 0; for i = 1, 1e5 do n = n + i % 7 end; print('ran', n)"}
	return []Scene{
		{
			File: transition + "positive-unpacked.jsonl", Note: "A program writes code to a page and makes it executable.", Keep: noReads,
			Play: play(box{args: []string{"/usr/local/bin/attack", "mprotect"}}, `"result":"ok"`),
		},
		{
			File: transition + "positive-jit-by-name.jsonl", Note: "A dropped program calls itself java and does the same.", Keep: noReads,
			Play: play(box{args: sh("cp /usr/local/bin/attack /tmp/java && /tmp/java mprotect")}, `"result":"ok"`),
		},
		{
			File: transition + "positive-jit-on-volume.jsonl", Note: "The same from a volume, which is on no overlay.", Keep: noReads,
			Play: play(box{mounts: []string{volume}, args: sh("cp /usr/local/bin/attack /data/java && /data/java mprotect")}, `"result":"ok"`),
		},
		{
			File: transition + "negative-luajit.jsonl", Note: "LuaJIT compiles a loop.", Keep: noReads,
			Play: play(box{args: loop}, "ran"),
		},
		{
			File: both + "positive-mapped.jsonl", Note: "A program maps a page that is writable and executable.", Keep: noReads,
			Play: play(box{args: []string{"/usr/local/bin/attack", "mmap-wx"}}, `"result":"ok"`),
		},
		{
			File: both + "negative-grep-pcre.jsonl", Note: "grep compiles a Perl regular expression to machine code.", Keep: noReads,
			Play: play(box{args: sh("echo ran | grep -P '^r[a-z]n$'")}, "ran"),
		},
	}
}
