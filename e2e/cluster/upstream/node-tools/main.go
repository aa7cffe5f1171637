// What the node itself runs in pods, and what tests of the cluster run there, as one static binary called by these names:
//
//	pause                         holds a pod's namespaces and reaps what is orphaned in them
//	setup -p FOLDER               makes the folder of a volume, as local-path-provisioner calls it
//	teardown -p FOLDER            removes it with all it holds
//	kernel                        prints the release of the kernel that it runs on
//	listen ADDRESS                accepts TCP connections
//	reach ADDRESS                 exits with 0 if a TCP connection is accepted
//	never-reach DURATION ADDRESS  exits with 0 if none is, however often it tries
package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

const dialTimeout = 2 * time.Second

func main() {
	if err := run(filepath.Base(os.Args[0]), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(name string, arguments []string) error {
	switch {
	case name == "pause":
		pause()
		return nil
	case name == "setup":
		return setup(volumeFolder())
	case name == "teardown":
		return os.RemoveAll(volumeFolder())
	case name == "kernel":
		return kernel()
	case name == "listen" && len(arguments) == 1:
		return listen(arguments[0])
	case name == "reach" && len(arguments) == 1:
		return reach(arguments[0], dialTimeout)
	case name == "never-reach" && len(arguments) == 2:
		return neverReach(arguments[0], arguments[1])
	}
	return fmt.Errorf("no command %q with %d arguments", name, len(arguments))
}

func pause() {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for received := range signals {
		if received != syscall.SIGCHLD {
			return
		}
		for {
			if pid, _ := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 {
				break
			}
		}
	}
}

// setup gives everyone write access, past the umask: a pod's user is not known here.
func setup(folder string) error {
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return err
	}
	return os.Chmod(folder, 0o777)
}

func kernel() error {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(release)
	return err
}

func listen(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	for {
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		_ = connection.Close()
	}
}

func reach(address string, timeout time.Duration) error {
	connection, err := net.DialTimeout("tcp", address, timeout)
	if err != nil {
		return err
	}
	return connection.Close()
}

// neverReach tries from its first moment: a path that is open for milliseconds only is found.
func neverReach(duration, address string) error {
	during, err := time.ParseDuration(duration)
	if err != nil {
		return err
	}
	tries := 0
	for end := time.Now().Add(during); time.Now().Before(end); tries++ {
		if reach(address, 20*time.Millisecond) == nil {
			return fmt.Errorf("reached %s after %d tries", address, tries)
		}
	}
	if tries == 0 {
		return errors.New("there was no time for a single try")
	}
	return nil
}

func volumeFolder() string {
	folder := flag.String("p", "", "the volume's folder")
	flag.String("s", "", "the volume's size, which a folder does not have")
	flag.String("m", "", "the volume's mode, which is always Filesystem")
	flag.String("a", "", "the action, which the binary's name says")
	flag.Parse()
	if !filepath.IsAbs(*folder) {
		fmt.Fprintf(os.Stderr, "-p must be an absolute path, not %q\n", *folder)
		os.Exit(2)
	}
	return *folder
}
