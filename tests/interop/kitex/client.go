package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/bytedance/gopkg/cloud/metainfo"
	"github.com/cloudwego/kitex/client"
	"github.com/cloudwego/kitex/pkg/rpcinfo"
	"github.com/cloudwego/kitex/pkg/transmeta"
	"github.com/cloudwego/kitex/transport"

	"meltemi/interop/kitex/kitex_gen/interop"
	"meltemi/interop/kitex/kitex_gen/interop/peer"
)

// One call, as a line of standard input asks for it.
type asked struct {
	Method     string            `json:"method"`
	Text       string            `json:"text"`
	Transient  map[string]string `json:"transient"`
	Persistent map[string]string `json:"persistent"`
	TimeoutMs  int               `json:"timeout_ms"`
}

// What became of it.
type done struct {
	Answer    string            `json:"answer,omitempty"`
	Refused   string            `json:"refused,omitempty"`
	Error     string            `json:"error,omitempty"`
	Backward  map[string]string `json:"backward,omitempty"`
	TookMs    float64           `json:"took_ms"`
	TimeoutMs float64           `json:"route_timeout_ms"`
}

var transports = map[string]transport.Protocol{
	"ttheader":        transport.TTHeader,
	"ttheader-framed": transport.TTHeaderFramed,
	"framed":          transport.Framed,
	"unframed":        transport.PurePayload,
}

// Calls one address; each line of standard input is a call.
func callDirectly(arguments []string) error {
	flags := flag.NewFlagSet("client", flag.ExitOnError)
	to := flags.String("to", "", "address of the server")
	wire := flags.String("transport", "ttheader", "ttheader, ttheader-framed, framed or unframed")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	protocol, known := transports[*wire]
	if !known {
		return fmt.Errorf("there is no transport %q", *wire)
	}
	called, err := peer.NewClient(
		"peer",
		client.WithHostPorts(*to),
		client.WithTransportProtocol(protocol),
		client.WithMetaHandler(transmeta.ClientTTHeaderHandler),
		client.WithRPCTimeout(5*time.Second),
	)
	if err != nil {
		return err
	}
	say(map[string]string{"ready": *to})
	return callAsAsked(called)
}

// Makes the calls that standard input asks for, until it ends.
func callAsAsked(called peer.Client) error {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<26)
	for lines.Scan() {
		var call asked
		if err := json.Unmarshal(lines.Bytes(), &call); err != nil {
			return err
		}
		say(callOnce(called, call))
	}
	return lines.Err()
}

func callOnce(called peer.Client, call asked) done {
	ctx := metainfo.WithBackwardValues(context.Background())
	for key, value := range call.Transient {
		ctx = metainfo.WithValue(ctx, key, value)
	}
	for key, value := range call.Persistent {
		ctx = metainfo.WithPersistentValue(ctx, key, value)
	}
	if call.TimeoutMs > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(call.TimeoutMs)*time.Millisecond)
		defer cancel()
	}
	methods := map[string]func(context.Context, string) (string, error){
		"Call":  func(c context.Context, text string) (string, error) { return called.Call(c, text) },
		"Other": func(c context.Context, text string) (string, error) { return called.Other(c, text) },
		"Refuse": func(c context.Context, text string) (string, error) {
			return called.Refuse(c, text)
		},
	}
	method, known := methods[call.Method]
	if !known {
		return done{Error: fmt.Sprintf("there is no method %q", call.Method)}
	}
	began := time.Now()
	answer, err := method(ctx, call.Text)
	made := done{Answer: answer, TookMs: float64(time.Since(began).Microseconds()) / 1000}
	made.Backward = metainfo.RecvAllBackwardValues(ctx)
	var refused *interop.Refused
	switch {
	case errors.As(err, &refused):
		made.Refused = refused.Reason
	case err != nil:
		made.Error = err.Error()
	}
	if info := rpcinfo.GetRPCInfo(ctx); info != nil {
		made.TimeoutMs = float64(info.Config().RPCTimeout().Milliseconds())
	}
	return made
}
