import type { Command } from 'commander';
import { applyCommand, deleteCommand, diffCommand, rollbackCommand } from './change-commands.js';
import { getCommand, historyCommand, statusCommand } from './read-commands.js';

/** What a control plane is told and asked on the command line. */
export function controlPlaneCommands(): Command[] {
  return [applyCommand(), getCommand(), diffCommand(), deleteCommand(), historyCommand(), rollbackCommand(), statusCommand()];
}
