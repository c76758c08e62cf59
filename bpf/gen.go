// Package bpf holds the kernel programs and their generated bindings: nothing else.
//
// The objects are built by clang 16 (clang.sh) with the lines below and committed, so that
// building the agent needs no compiler for them; `make generate` renews them and CI
// compares. Types come from the layout object once, the others bring programs and maps.
package bpf

// The wire structs, config and control: their sizes and offsets are tested against agent/decode.
//go:generate go tool bpf2go -cc ./clang.sh -strip llvm-strip-16 -target amd64,arm64 Layout layout.bpf.c -- -O2 -g -Wall -Werror -mcpu=v3

// One object per concern: a kernel that refuses one leaves the others.
//go:generate go tool bpf2go -cc ./clang.sh -strip llvm-strip-16 -target amd64,arm64 -no-global-types Process process.bpf.c -- -O2 -g -Wall -Werror -mcpu=v3
//go:generate go tool bpf2go -cc ./clang.sh -strip llvm-strip-16 -target amd64,arm64 -no-global-types File file.bpf.c -- -O2 -g -Wall -Werror -mcpu=v3
//go:generate go tool bpf2go -cc ./clang.sh -strip llvm-strip-16 -target amd64,arm64 -no-global-types Network network.bpf.c -- -O2 -g -Wall -Werror -mcpu=v3
//go:generate go tool bpf2go -cc ./clang.sh -strip llvm-strip-16 -target amd64,arm64 -no-global-types Memory memory.bpf.c -- -O2 -g -Wall -Werror -mcpu=v3
//go:generate go tool bpf2go -cc ./clang.sh -strip llvm-strip-16 -target amd64,arm64 -no-global-types Cgroup cgroup.bpf.c -- -O2 -g -Wall -Werror -mcpu=v3
//go:generate go tool bpf2go -cc ./clang.sh -strip llvm-strip-16 -target amd64,arm64 -no-global-types Syscall syscall.bpf.c -- -O2 -g -Wall -Werror -mcpu=v3
