package main

import (
	"flag"

	"github.com/cloudwego/kitex/client"
	"github.com/cloudwego/kitex/pkg/transmeta"
	kitexxds "github.com/cloudwego/kitex/pkg/xds"
	"github.com/cloudwego/kitex/transport"
	"github.com/kitex-contrib/xds"
	"github.com/kitex-contrib/xds/xdssuite"

	"meltemi/interop/kitex/kitex_gen/interop/peer"
)

// Calls a service where xDS says; the control plane is said by Kitex's environment.
func callRouted(arguments []string) error {
	flags := flag.NewFlagSet("xds", flag.ExitOnError)
	service := flags.String("service", "", "host and port, as the mesh names it")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if err := xds.Init(); err != nil {
		return err
	}
	called, err := peer.NewClient(
		*service,
		client.WithXDSSuite(kitexxds.ClientSuite{
			RouterMiddleware: xdssuite.NewXDSRouterMiddleware(),
			Resolver:         xdssuite.NewXDSResolver(),
		}),
		client.WithTransportProtocol(transport.TTHeader),
		client.WithMetaHandler(transmeta.ClientTTHeaderHandler),
	)
	if err != nil {
		return err
	}
	say(map[string]string{"ready": *service})
	return callAsAsked(called)
}
