"""What makes a document right beyond the types of its fields: one module a kind.

Istio's rules are those of its admission webhook (istio/istio pkg/config/validation) and of the
CEL rules in its CRDs; Aeraki's those of its webhook, where they agree with its documentation."""
