//go:build tools

// Package tools pins gRPC's own interop client and server.
package tools

import (
	_ "google.golang.org/grpc/interop/client"
	_ "google.golang.org/grpc/interop/server"
)
