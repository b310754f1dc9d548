// The istiod of Istio's published module, started on a directory of YAML without Kubernetes.
//
// The command of the module asks a Kubernetes API for namespaces and secrets even where it has no
// registry; here a fake client set, empty, stands for that API. Everything else is the module's own.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"reflect"
	"syscall"
	"time"
	"unsafe"

	"istio.io/istio/pilot/pkg/bootstrap"
	"istio.io/istio/pkg/kube"
)

func main() {
	config := flag.String("config", "", "directory of YAML documents, watched")
	grpc := flag.String("grpc", "127.0.0.1:18010", "address of xDS, plain text")
	http := flag.String("http", "127.0.0.1:18080", "address of /ready")
	monitoring := flag.String("monitoring", "127.0.0.1:18014", "address of metrics")
	flag.Parse()
	if err := run(*config, *grpc, *http, *monitoring); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(config, grpc, http, monitoring string) error {
	args := bootstrap.NewPilotArgs(func(p *bootstrap.PilotArgs) {
		p.Namespace, p.PodName = "istio-system", "istiod"
		p.ServerOptions.GRPCAddr = grpc
		p.ServerOptions.HTTPAddr = http
		p.ServerOptions.MonitoringAddr = monitoring
		p.ServerOptions.EnableProfiling = false
		p.RegistryOptions.FileDir = config
		p.RegistryOptions.Registries = nil
		p.RegistryOptions.KubeOptions.DomainSuffix = "cluster.local"
		p.RegistryOptions.KubeOptions.ClusterID = "Kubernetes"
		p.MeshConfigFile = "/nonexistent"
		p.NetworksConfigFile = "/nonexistent"
		p.ShutdownDuration = 100 * time.Millisecond
	})
	server, err := bootstrap.NewServer(args, withEmptyKubernetes)
	if err != nil {
		return err
	}
	stop := make(chan struct{})
	if err := server.Start(stop); err != nil {
		return err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	<-signals
	close(stop)
	server.WaitUntilCompletion()
	return nil
}

// withEmptyKubernetes sets the field that the server's own tests set; it has no exported name.
func withEmptyKubernetes(server *bootstrap.Server) {
	field := reflect.ValueOf(server).Elem().FieldByName("kubeClient")
	client := reflect.ValueOf(kube.NewFakeClient())
	reflect.NewAt(field.Type(), unsafe.Pointer(field.UnsafeAddr())).Elem().Set(client)
}
