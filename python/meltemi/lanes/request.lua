-- Parts of a request by name, for the programs that stand behind this text.

local function trimmed(text)
  return text:match("^[ \t]*(.-)[ \t]*$")
end

local function decoded(text)
  if not text:find("%", 1, true) then return text end
  return (text:gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end))
end

-- The values of a header that may come several times, one by one.
local function values_of(headers, name)
  local count = headers:getNumValues(name)
  if count == 1 then return { headers:get(name) } end
  local found = {}
  for place = 1, count do found[place] = headers:getAtIndex(name, place - 1) end
  return found
end

local read = {}

function read.header(headers, name) return headers:get(name) end

function read.method(headers) return headers:get(":method") end

function read.uri(headers)
  local path = headers:get(":path")
  return path and path:match("^[^?#]*")
end

-- Of a cookie, behind a `;`: its value.
local cookies = {}

local function cookie_pattern(name)
  if not cookies[name] then
    cookies[name] = ";[ \t]*" .. name:gsub("%W", "%%%0") .. "[ \t]*=([^;]*)"
  end
  return cookies[name]
end

function read.cookie(headers, name)
  local place, text = 0, headers:getAtIndex("cookie", 0)
  while text do
    local value = text:find(name, 1, true) and (";" .. text):match(cookie_pattern(name))
    if value then return trimmed(value) end
    place = place + 1
    text = headers:getAtIndex("cookie", place)
  end
end

function read.query(headers, name)
  local query = (headers:get(":path") or ""):match("^[^?#]*%?([^#]*)")
  if not query or not query:find(name, 1, true) then return nil end
  for pair in query:gmatch("[^&]+") do
    local key, value = pair:match("^(.-)=(.*)$")
    if (key or pair) == name then return value or "" end
  end
end

-- Of the members with the name the last counts, as everywhere where baggage is read.
function read.baggage(headers, name)
  local whole, found = headers:get("baggage"), nil
  if not whole or not whole:find(name, 1, true) then return nil end
  for member in whole:gmatch("[^,]+") do
    local key, rest = member:match("^([^=]*)=?(.*)$")
    if trimmed(key) == name then found = decoded(trimmed(rest:match("^[^;]*"))) end
  end
  return found
end
