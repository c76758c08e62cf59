#!/bin/sh
# clang 16 numbers the types of BTF that it only declares by where its heap holds them,
# and the lengths of the paths it is given move its heap: the same source in another
# folder becomes another object. So it compiles a copy in a folder whose path is as long
# on every machine. bpf2go calls this in place of clang, in the folder of the sources.
set -eu
sources=$PWD
copy=$(mktemp -d /tmp/seawall-bpf.XXXXXXXX)
trap 'rm -rf "$copy"' EXIT
cp "$sources"/*.[ch] "$copy"

object=
previous=
for argument; do
	shift
	[ "$previous" != -o ] || object=${argument##*/}
	previous=$argument
	case $argument in
	"$sources"/*) argument=$copy${argument#"$sources"} ;;
	-fdebug-prefix-map="$sources"=*) argument=-fdebug-prefix-map=$copy=${argument##*=} ;;
	esac
	set -- "$@" "$argument"
done

cd "$copy"
clang-16 "$@"
cp "$object" "$sources"
