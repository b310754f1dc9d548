-- Lays out parts of a request where Envoy's own matchers find them.
-- `wanted`, which stands before this text, is data: {part, name, key in the metadata}.

function envoy_on_request(handle)
  local headers = handle:headers()
  local metadata = handle:streamInfo():dynamicMetadata()
  for _, each in ipairs(wanted) do
    local value = read[each[1]](headers, each[2])
    if value ~= nil then metadata:set("meltemi.lanes", each[3], value) end
  end
end
