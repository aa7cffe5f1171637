// containerd-shim-runsc-v1 for machines whose root lacks CAP_SYS_RESOURCE.
//
// gVisor's shim insists on an OOM score of -999, which only that capability allows, and
// fails without it. This one is gVisor's shim with a Start that leaves the score as it is;
// everything else is gVisor's. Grouping (several containers of a pod in one shim, by
// gVisor's own configuration file) is left out: containerd's CRI passes one shim per pod.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/shim"
	shimv1 "gvisor.dev/gvisor/pkg/shim/v1"
	_ "gvisor.dev/gvisor/pkg/shim/v1/plugin" // the task service
)

type manager struct {
	shim.Manager
}

func main() {
	shim.Run(context.Background(), manager{shimv1.NewShimManager("io.containerd.runsc.v1")})
}

// Start makes the shim's socket and runs this binary again as the shim that serves it.
func (manager) Start(ctx context.Context, id string, opts shim.StartOpts) (shim.BootstrapParams, error) {
	address, err := shim.SocketAddress(ctx, opts.Address, id, opts.Debug)
	if err != nil {
		return shim.BootstrapParams{}, err
	}
	params := shim.BootstrapParams{Version: 2, Address: address, Protocol: "ttrpc"}
	socket, err := shim.NewSocket(address)
	if shim.SocketEaddrinuse(err) {
		if shim.CanConnect(address) {
			return params, writeAddress(address)
		}
		if err := shim.RemoveSocket(address); err != nil {
			return shim.BootstrapParams{}, fmt.Errorf("remove the socket of a dead shim: %w", err)
		}
		socket, err = shim.NewSocket(address)
	}
	if err != nil {
		return shim.BootstrapParams{}, fmt.Errorf("make the shim's socket: %w", err)
	}
	if err := serve(ctx, id, opts, address, socket.File); err != nil {
		_ = socket.Close()
		_ = shim.RemoveSocket(address)
		return shim.BootstrapParams{}, err
	}
	return params, nil
}

func serve(ctx context.Context, id string, opts shim.StartOpts, address string, socket func() (*os.File, error)) error {
	namespace, err := namespaces.NamespaceRequired(ctx)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	file, err := socket()
	if err != nil {
		return err
	}
	defer file.Close()
	if err := writeAddress(address); err != nil {
		return err
	}
	args := []string{"-namespace", namespace, "-address", opts.Address, "-id", id}
	if opts.Debug {
		args = append(args, "-debug")
	}
	command := exec.Command(self, args...)
	command.Env = append(os.Environ(), "GOMAXPROCS=2")
	command.ExtraFiles = []*os.File{file}
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		return err
	}
	if err := shim.WritePidFile("shim.pid", command.Process.Pid); err != nil {
		_ = command.Process.Kill()
		_ = command.Wait()
		return err
	}
	return nil
}

// writeAddress leaves the address where containerd and the shim's own Cleanup look for it.
func writeAddress(address string) error {
	return os.WriteFile("address", []byte(address), 0o644)
}
