package main

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// init lets the garbage collector be lazy while a program starts and thrifty once it runs: after SETTLE_AFTER (a
// duration) it works at SETTLE_GOGC (percent). A low GOGC from the beginning costs an API server a third of its start.
// As long again afterwards, twice, what only the start needed is given back: free heap, and pages of the program itself.
func init() {
	after, err := time.ParseDuration(os.Getenv("SETTLE_AFTER"))
	if err != nil {
		return
	}
	percent, err := strconv.Atoi(os.Getenv("SETTLE_GOGC"))
	if err != nil {
		return
	}
	time.AfterFunc(after, func() {
		debug.SetGCPercent(percent)
		debug.FreeOSMemory()
	})
	for _, later := range []time.Duration{2, 3} {
		time.AfterFunc(later*after, func() {
			debug.FreeOSMemory()
			forgetText()
		})
	}
}

// forgetText unmaps the pages of the program's own file, which are never written: those still needed come back from the
// page cache as they are used, a third of them.
func forgetText() {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	for _, line := range strings.Split(string(maps), "\n") {
		// 00400000-05a2c000 r-xp 00000000 fe:00 1234 /opt/sorairo/kubernetes-1.37/kubernetes
		fields := strings.Fields(line)
		if len(fields) < 6 || fields[5] != self || fields[1][1] == 'w' {
			continue
		}
		from, to, _ := strings.Cut(fields[0], "-")
		start, err := strconv.ParseUint(from, 16, 64)
		end, err2 := strconv.ParseUint(to, 16, 64)
		if err == nil && err2 == nil {
			_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, uintptr(start), uintptr(end-start), syscall.MADV_DONTNEED)
		}
	}
}
