// What the node itself runs in pods, as one static binary called by three names:
//
//	pause     holds a pod's namespaces and reaps what is orphaned in them
//	setup     makes the folder of a volume  (-p FOLDER, as local-path-provisioner calls it)
//	teardown  removes it with all it holds
//	reach     exits with 0 if a TCP connection to its argument is accepted: for tests of the network
package main

import (
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	var err error
	switch name := filepath.Base(os.Args[0]); name {
	case "pause":
		pause()
	case "setup":
		err = setup(volumeFolder())
	case "teardown":
		err = os.RemoveAll(volumeFolder())
	case "reach":
		err = reach(os.Args[1])
	default:
		err = fmt.Errorf("called as %q, not as pause, setup, teardown or reach", name)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
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

func reach(address string) error {
	connection, err := net.DialTimeout("tcp", address, 2*time.Second)
	if err != nil {
		return err
	}
	return connection.Close()
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
