import { WindlassError } from '../../errors.ts'
import { defineCommand } from '../command.ts'
import { commandTable } from '../commands.ts'
import { type CompletedCommand, formatBash, formatFish, formatZsh } from '../completion.ts'
import { writeJson } from '../output.ts'

const formats: Readonly<Record<string, (commands: readonly CompletedCommand[]) => string>> = {
  bash: formatBash,
  zsh: formatZsh,
  fish: formatFish,
}

export const command = defineCommand({
  description:
    'Prints a script that makes the shell complete commands, options, and the names of the images in the store. Load it in the ' +
    "shell's start-up file, or put it where the shell looks for completions.",
  watched: false,
  operands: [{ name: 'SHELL', complete: Object.keys(formats) }],
  options: {},
  examples: [
    { line: 'source <(windlass completion bash)', does: 'In ~/.bashrc.' },
    { line: 'windlass completion zsh > ~/.zfunc/_windlass', does: 'For zsh, in a directory of its fpath.' },
    { line: 'windlass completion fish > ~/.config/fish/completions/windlass.fish', does: 'For fish.' },
  ],
  async run(context, [shell = '']) {
    const format = Object.hasOwn(formats, shell) ? formats[shell] : undefined
    if (format === undefined) {
      const wanted = Object.keys(formats).join(', ')
      throw new WindlassError('USAGE', `Cannot complete for shell ${JSON.stringify(shell)}: wanted one of ${wanted}`)
    }
    const commands = commandTable.map(async ({ name, summary, load }) => ({ name, summary, ...(await load()).command }))
    const script = format(await Promise.all(commands))
    if (context.json) writeJson(context, { shell, script })
    else context.stdout.write(script)
    return 0
  },
})
