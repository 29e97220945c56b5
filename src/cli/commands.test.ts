import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseArguments, splitArguments } from './args.ts'
import { globalOptions, type OptionTable } from './command.ts'
import { commandTable, findCommand } from './commands.ts'
import { formatHelp, formatOverview } from './help.ts'

for (const { name, summary, load } of commandTable) {
  const { command } = await load()

  test(`the help of ${name} shows its usage, options and examples in lines that fit`, () => {
    const help = formatHelp(name, command)
    assert.match(help, new RegExp(`^Usage: windlass ${name} `))
    for (const option of Object.keys({ ...command.options, ...globalOptions }))
      assert.ok(help.includes(`--${option}`), option)
    for (const { line } of command.examples) assert.ok(help.includes(line), line)
    for (const line of help.split('\n')) assert.ok(line.length <= 90, line)
    assert.match(summary, /^[A-Z].*[^.]$/)
  })

  test(`the examples of ${name} are valid command lines of it`, () => {
    assert.ok(command.examples.length > 0)
    for (const { line } of command.examples) {
      const [, text] = /windlass ([^|)>&]*)/.exec(line) ?? []
      // What a shell would put in.
      const words = (text ?? '')
        .replaceAll(/\$\([^ ]*/g, 'x')
        .trim()
        .split(/ +/)
      const { name: called, rest } = splitArguments(words)
      assert.equal(called, name, line)
      parseArguments(rest, name, command)
    }
  })

  test(`no option of ${name} hides a global one, and no letter stands for two`, () => {
    const table: OptionTable = { ...globalOptions, ...command.options }
    const letters = Object.values(table).flatMap(({ short }) => short ?? [])
    assert.equal(new Set(letters).size, letters.length)
    for (const option of Object.keys(command.options)) assert.ok(!Object.hasOwn(globalOptions, option), option)
  })

  test(`only the last operand of ${name} is many, and what is needed comes first`, () => {
    for (const [index, operand] of command.operands.entries()) {
      if (operand.many) assert.equal(index, command.operands.length - 1)
      if (!operand.optional) assert.ok(command.operands.slice(0, index).every(({ optional }) => !optional))
    }
  })
}

test('the overview lists every command', () => {
  const overview = formatOverview(commandTable)
  for (const { name, summary } of commandTable) assert.match(overview, new RegExp(`^  ${name} +${summary}$`, 'm'))
})

test('a name finds its command only', () => {
  assert.equal(findCommand('pull')?.name, 'pull')
  assert.equal(findCommand('constructor'), undefined)
})
