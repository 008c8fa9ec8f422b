//go:build linux

package process

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// CPU is processor time.
type CPU struct{ User, System time.Duration }

// Total is the time in both.
func (c CPU) Total() time.Duration { return c.User + c.System }

// Sub returns what was used between o and c.
func (c CPU) Sub(o CPU) CPU { return CPU{c.User - o.User, c.System - o.System} }

// Add returns the sum.
func (c CPU) Add(o CPU) CPU { return CPU{c.User + o.User, c.System + o.System} }

// tick is the unit of /proc/PID/stat on every architecture that Go knows.
const tick = 10 * time.Millisecond

// statCPU reads utime and stime, fields 14 and 15, from a file like /proc/PID/stat.
func statCPU(path string) CPU {
	b, err := os.ReadFile(path)
	if err != nil {
		return CPU{}
	}
	// The second field is the program's name in brackets, and may hold spaces.
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	utime, _ := strconv.Atoi(fields[11])
	stime, _ := strconv.Atoi(fields[12])
	return CPU{time.Duration(utime) * tick, time.Duration(stime) * tick}
}

// ThreadCPU returns the processor time of the calling thread.
func ThreadCPU() CPU {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &r); err != nil {
		return CPU{}
	}
	return CPU{time.Duration(r.Utime.Nano()), time.Duration(r.Stime.Nano())}
}

// pinned runs f while the calling thread, and so every process that f starts, is bound to these processors.
func pinned(cpus []int, f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	if err := setAffinity(0, cpus); err != nil {
		return err
	}
	err := f()
	if restoreErr := unix.SchedSetaffinity(0, &before); err == nil {
		err = restoreErr
	}
	return err
}

// PinSelf binds all threads of this process to one processor.
func PinSelf(cpu int) error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range threads {
		tid, _ := strconv.Atoi(t.Name())
		if err := setAffinity(tid, []int{cpu}); err != nil {
			return err
		}
	}
	return nil
}

func setAffinity(tid int, cpus []int) error {
	var set unix.CPUSet
	for _, c := range cpus {
		set.Set(c)
	}
	if err := unix.SchedSetaffinity(tid, &set); err != nil {
		return fmt.Errorf("binding to processors %v: %w", cpus, err)
	}
	return nil
}

// Processors returns the numbers of the processors that this process may use.
func Processors() []int {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return []int{0}
	}
	var cpus []int
	for i := range len(set) * 64 {
		if set.IsSet(i) {
			cpus = append(cpus, i)
		}
	}
	return cpus
}

// Busy returns the processor time that all processes of the machine have used.
func Busy() time.Duration {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	// cpu, then user, nice, system, idle, iowait, irq, softirq, steal
	fields := strings.Fields(string(b[:strings.IndexByte(string(b), '\n')]))
	busy := 0
	for _, i := range []int{1, 2, 3, 6, 7, 8} {
		n, _ := strconv.Atoi(fields[i])
		busy += n
	}
	return time.Duration(busy) * tick
}

// Used returns the processor time of this process, and of those that it started and that have ended.
func Used() time.Duration {
	var own, children unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &own) != nil || unix.Getrusage(unix.RUSAGE_CHILDREN, &children) != nil {
		return 0
	}
	return time.Duration(own.Utime.Nano() + own.Stime.Nano() + children.Utime.Nano() + children.Stime.Nano())
}
