package main

import (
	"context"
	"encoding/json"
	"flag"
	"net"

	"github.com/bytedance/gopkg/cloud/metainfo"
	"github.com/cloudwego/kitex/pkg/transmeta"
	"github.com/cloudwego/kitex/server"

	"meltemi/interop/kitex/kitex_gen/interop"
	"meltemi/interop/kitex/kitex_gen/interop/peer"
)

// What a call brought: the answer of the peer.
type seen struct {
	Name       string            `json:"name"`
	Method     string            `json:"method"`
	Text       string            `json:"text"`
	Transient  map[string]string `json:"transient"`
	Persistent map[string]string `json:"persistent"`
}

type handler struct{ name string }

func (h *handler) Call(ctx context.Context, text string) (string, error) {
	return h.answer(ctx, "Call", text)
}

func (h *handler) Other(ctx context.Context, text string) (string, error) {
	return h.answer(ctx, "Other", text)
}

func (h *handler) Refuse(_ context.Context, reason string) (string, error) {
	return "", &interop.Refused{Reason: reason}
}

func (h *handler) answer(ctx context.Context, method, text string) (string, error) {
	metainfo.SendBackwardValue(ctx, "answered-by", h.name)
	made, err := json.Marshal(seen{
		Name:       h.name,
		Method:     method,
		Text:       text,
		Transient:  orEmpty(metainfo.GetAllValues(ctx)),
		Persistent: orEmpty(metainfo.GetAllPersistentValues(ctx)),
	})
	return string(made), err
}

func orEmpty(values map[string]string) map[string]string {
	if values == nil {
		return map[string]string{}
	}
	return values
}

// Serves until it is stopped. Takes whatever transport a caller speaks.
func serve(arguments []string) error {
	flags := flag.NewFlagSet("server", flag.ExitOnError)
	listen := flags.String("listen", "127.0.0.1:0", "address")
	name := flags.String("name", "kitex", "what its answers call it")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	say(map[string]string{"listening": listener.Addr().String()})
	return peer.NewServer(
		&handler{*name},
		server.WithListener(listener),
		server.WithMetaHandler(transmeta.ServerTTHeaderHandler),
	).Run()
}
