import { defineCommand } from '../command.ts'
import { runInNamespace } from '../namespace.ts'

export const command = defineCommand({
  description:
    "Runs a program, or a shell, in the user namespace in which an ordinary user's images are made: there the user is root and has " +
    'the subordinate IDs of /etc/subuid and /etc/subgid, can mount images and can reach, move and remove the files of their owners. What ' +
    'is mounted is gone when the program ends. Root needs no namespace: for root it just runs the program.',
  operands: [{ name: 'PROGRAM', optional: true, many: true }],
  rootFor: () => 'reaching files',
  watched: false,
  options: {},
  examples: [
    { line: "windlass unshare -- sh -c 'ls $(windlass mount debian:12)'", does: 'Look into an image.' },
    { line: 'windlass unshare -- rm -rf tree', does: 'Remove what unpack has made.' },
    { line: 'windlass unshare', does: 'Start a shell.' },
  ],
  exits: ['the status of the program', '7  there is no user namespace to be had'],
  async run(context, program) {
    const shell = context.env['SHELL'] || 'sh'
    return await runInNamespace(context, program.length === 0 ? [shell] : program)
  },
})
