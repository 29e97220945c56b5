/** The rescue as a service of systemd. */
import type { FileChange } from './file-change.ts'

/** @param program the absolute path of windlass */
export function planService(program: string): FileChange {
  const lines = [
    '# Made by windlass.',
    '[Unit]',
    'Description=windlass: bring container image pulls that hang to their end',
    'After=docker.service containerd.service',
    '',
    '[Service]',
    `ExecStart=${program.replace(/[%$"\\ ]/g, character => (character === '%' || character === '$' ? character + character : `\\x${character.charCodeAt(0).toString(16)}`))} doctor --watch --rescue --yes`,
    'Restart=always',
    'RestartSec=10',
    '# A rescue that is broken off is finished by the process that writes for it.',
    'KillMode=process',
    '',
    '[Install]',
    'WantedBy=multi-user.target',
    '',
  ]
  return {
    path: '/etc/systemd/system/windlass-rescue.service',
    before: undefined,
    after: lines.join('\n'),
    mode: 0o644,
  }
}
