-- Drives Neovim's own LSP client through one scenario, and prints `ok NAME` or `FAIL NAME DETAIL` for each check.
-- Arguments by environment: OCI_PYTHON, OCI_PROJECT, OCI_SCENARIO (apply, save, cancel, changed), OCI_SETTINGS (JSON).
local project, scenario = os.getenv('OCI_PROJECT'), os.getenv('OCI_SCENARIO')
local settings = vim.json.decode(os.getenv('OCI_SETTINGS'))
local wait_ms = 150000
local failed = false

local function check(name, ok, detail)
  io.stdout:write(ok and ('ok ' .. name .. '\n') or ('FAIL ' .. name .. ' ' .. vim.inspect(detail) .. '\n'))
  failed = failed or not ok
end
local function wait(condition) return vim.wait(wait_ms, condition, 20) end

local messages, progress = {}, {}
vim.lsp.handlers['window/showMessage'] = function(_, result) table.insert(messages, result.message) end
local on_progress = vim.lsp.handlers['$/progress']
vim.lsp.handlers['$/progress'] = function(err, result, ctx, config)
  table.insert(progress, result)
  if on_progress then on_progress(err, result, ctx, config) end
end
local function said(part)
  return vim.iter(messages):any(function(m) return m:find(part, 1, true) ~= nil end)
end
local function step(part)
  return vim.iter(progress):any(function(p) return (p.value.message or ''):find(part, 1, true) ~= nil end)
end
local function ended()
  return vim.iter(progress):any(function(p) return p.value.kind == 'end' end)
end

vim.cmd('edit ' .. project .. '/calc.py')
local code = vim.api.nvim_get_current_buf()
vim.cmd('edit ' .. project .. '/test_calc.py')
local test = vim.api.nvim_get_current_buf()
local id = vim.lsp.start({
  name = 'oci-companion',
  cmd = { os.getenv('OCI_PYTHON'), '-m', 'lsp_server.server' },
  root_dir = project,
  settings = { oci = settings },
})
vim.lsp.buf_attach_client(code, id)
local client = vim.lsp.get_client_by_id(id)
check('the client has started', wait(function() return client.initialized end))

-- Neovim shows code actions and questions through the same picker; each is answered by what the user would take.
local questions = {}
vim.ui.select = function(items, options, choose)
  for index, item in ipairs(items) do
    local action = type(item) == 'table' and (item.action or item) or item
    local title = type(action) == 'table' and action.title or action
    if title == 'Fix failing test with OCI' then return choose(item, index) end
    if title == 'Apply' then
      table.insert(questions, options.prompt)
      return choose(item, index)
    end
  end
end
vim.lsp.handlers['window/showMessageRequest'] = function(_, result)
  table.insert(questions, result.message)
  return result.actions[1]
end

local before = table.concat(vim.api.nvim_buf_get_lines(code, 0, -1, false), '\n')
local function text() return table.concat(vim.api.nvim_buf_get_lines(code, 0, -1, false), '\n') end

local function write(buffer)
  vim.api.nvim_buf_call(buffer, function() vim.cmd('silent write') end)
end
if scenario == 'save' then
  write(code)
  check('both places are shown', wait(function()
    return #vim.diagnostic.get(code) == 1 and #vim.diagnostic.get(test) == 1
  end), messages)
  local seen, suspected = vim.diagnostic.get(test)[1], vim.diagnostic.get(code)[1]
  check('the values are told', seen.message:find('where -1 = add(2, 3)', 1, true), seen)
  check('each is where it belongs', seen.lnum == 5 and suspected.lnum == 0, { seen, suspected })
end

vim.api.nvim_set_current_buf(test)
vim.api.nvim_win_set_cursor(0, { 6, 8 })
vim.lsp.buf.code_action({ filter = function(action) return action.title == 'Fix failing test with OCI' end, apply = true })
check('progress begins', wait(function() return #progress > 0 end), messages)

if scenario == 'apply' then
  check('a round is told', wait(function() return step('Round 1 of') end), { progress, messages })
  check('the edit is in the buffer', wait(function() return text():find('a + b', 1, true) end), { text(), messages, progress })
  check('the user was asked, with the receipt', #questions == 1 and questions[1]:find('OCI verified', 1, true), questions)
  check('the rest of the buffer is the same', text():gsub('a %+ b', 'a - b') == before, text())
  check('progress ends', wait(ended), progress)
elseif scenario == 'save' then
  check('the edit is in the buffer', wait(function() return text():find('a + b', 1, true) end), { text(), messages, progress })
  write(code)
  check('nothing is shown any more', wait(function()
    return #vim.diagnostic.get(code) == 0 and #vim.diagnostic.get(test) == 0
  end), { vim.diagnostic.get(code), vim.diagnostic.get(test) })
elseif scenario == 'cancel' then
  check('the model writes', wait(function() return step('characters written') end), progress)
  client:notify('window/workDoneProgress/cancel', { token = progress[1].token })
  check('progress ends', wait(ended), progress)
  check('it says that it was stopped', step('Stopped'), progress)
  check('nothing was asked', #questions == 0, questions)
  check('the buffer is the same', text() == before, text())
elseif scenario == 'changed' then
  check('the model writes', wait(function() return step('characters written') end), progress)
  vim.api.nvim_buf_set_lines(code, 1, 2, false, { '    return a - b  # mine' })
  local mine = text()
  check('it says that nothing was applied', wait(function() return said('Nothing was applied') end), messages)
  check('the buffer is as the user typed it', text() == mine, text())
end

client:stop()
check('the server has ended', wait(function() return client:is_stopped() end))
os.exit(failed and 1 or 0)
