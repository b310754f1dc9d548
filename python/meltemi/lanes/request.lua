-- Parts of a request by name, for the programs that stand behind this text.

local function trimmed(text)
  return text:match("^[ \t]*(.-)[ \t]*$")
end

local function decoded(text)
  if not text:find("%", 1, true) then return text end
  return (text:gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end))
end

local function each_value(headers, name, visit)
  for place = 0, headers:getNumValues(name) - 1 do
    local found = visit(headers:getAtIndex(name, place))
    if found ~= nil then return found end
  end
end

local read = {}

function read.header(headers, name) return headers:get(name) end

function read.method(headers) return headers:get(":method") end

function read.uri(headers)
  local path = headers:get(":path")
  return path and path:match("^[^?#]*")
end

function read.cookie(headers, name)
  return each_value(headers, "cookie", function(text)
    for pair in text:gmatch("[^;]+") do
      local key, value = pair:match("^[ \t]*(.-)[ \t]*=(.*)$")
      if key == name then return trimmed(value) end
    end
  end)
end

function read.query(headers, name)
  local query = (headers:get(":path") or ""):match("^[^?#]*%?([^#]*)")
  for pair in (query or ""):gmatch("[^&]+") do
    local key, value = pair:match("^(.-)=(.*)$")
    if (key or pair) == name then return value or "" end
  end
end

-- Of the members with the name the last counts, as everywhere where baggage is read.
function read.baggage(headers, name)
  local found
  each_value(headers, "baggage", function(text)
    for member in text:gmatch("[^,]+") do
      local key, rest = member:match("^([^=]*)=?(.*)$")
      if trimmed(key) == name then found = decoded(trimmed(rest:match("^[^;]*"))) end
    end
  end)
  return found
end
